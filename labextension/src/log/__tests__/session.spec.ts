import { LogSession } from '../session';
import { FakeLog, FakeScreen, lines } from './fakes';

const MIB = 1 << 20;

let log: FakeLog;
let screen: FakeScreen;
let session: LogSession;

const pass = (seconds: number) => jest.advanceTimersByTimeAsync(1000 * seconds);
const first = () => Number(screen.text.slice(0, 9));
const last = () => Number(screen.text.slice(-100, -91));

/** What is shown is a part of the log without a gap, and is what the session says it is. */
function checkWhole(): void {
  const { start, end } = session.state;
  expect(screen.text).toBe(log.text.slice(start, end));
}

beforeEach(() => {
  jest.useFakeTimers();
  log = new FakeLog();
  screen = new FakeScreen();
  session = new LogSession(log, 'local/a', { node: 0, attempt: 0 }, screen);
});

afterEach(() => {
  session.dispose();
  jest.useRealTimers();
});

it('opens at the end of a long log with a page of it', async () => {
  log.text = lines(50_000);
  log.ended = true;
  await session.toEnd();
  expect(screen.at).toBeNull();
  expect(last()).toBe(49_999);
  expect(screen.text.length).toBeLessThanOrEqual(MIB / 2);
  expect(screen.text.length).toBeGreaterThan(MIB / 4);
  checkWhole();
  const asked = log.asked.length;
  await pass(60);
  // Nothing more can come of a log that has ended.
  expect(log.asked.length).toBe(asked);
  expect(log.opened).toBe(0);
});

it('asks for less where lines are so short that they would fill the terminal', async () => {
  log.text = Array.from({ length: 900_000 }, (_, i) => `${i % 10}\n`).join('');
  log.ended = true;
  await session.toEnd();
  expect(screen.text.split('\n').length).toBeLessThanOrEqual(screen.capacity / 4 + 1);
  checkWhole();
  await session.older();
  checkWhole();
  expect(screen.text.split('\n').length).toBeLessThanOrEqual(screen.capacity + 1);
});

it('loads the pages before, one after the other, to the beginning, and keeps the place', async () => {
  log.text = lines(50_000);
  log.ended = true;
  await session.toEnd();
  while (session.state.start > 0) {
    const before = session.state.start;
    screen.top = { offset: before, lines: 3 };
    await session.older();
    expect(session.state.start).toBeLessThan(before);
    expect(screen.at).toEqual({ offset: before, lines: 3 });
    // What the place stands in is still there.
    expect(screen.pieces.map(({ offset }) => offset)).toContain(before);
    expect(screen.text.length / 100).toBeLessThanOrEqual(screen.capacity);
    checkWhole();
  }
  expect(first()).toBe(0);
  expect(session.state.following).toBe(false);
});

it('loads a line that is longer than a page together with what follows it', async () => {
  log.text = `${lines(10)}${'x'.repeat(900_000)}\n${lines(20_000, 10)}`;
  log.ended = true;
  await session.toEnd();
  for (let i = 0; i < 8 && session.state.start > 0; i++) {
    await session.older();
    checkWhole();
  }
  expect(session.state.start).toBe(0);
});

it('comes back to the end page by page, holds the view, and follows there', async () => {
  log.text = lines(30_000);
  await session.toStart();
  expect(screen.at).toEqual({ offset: 0, lines: 0 });
  expect(first()).toBe(0);
  for (let i = 0; i < 10 && !session.state.following; i++) {
    await session.newer();
    checkWhole();
  }
  expect(session.state.following).toBe(true);
  expect(session.state.end).toBe(log.text.length);
  expect(screen.held).toBeGreaterThan(0);
  log.text += lines(1, 30_000);
  await pass(1);
  expect(last()).toBe(30_000);
});

it('one page is loaded however often it is asked for', async () => {
  log.text = lines(50_000);
  log.ended = true;
  await session.toEnd();
  const asked = log.asked.length;
  await Promise.all([session.older(), session.older(), session.older()]);
  expect(log.asked.length - asked).toBe(2);
});

it('shows what comes while it follows, and lets go of what no longer fits', async () => {
  log.text = lines(10);
  await session.toEnd();
  for (let i = 0; i < 30; i++) {
    log.text += lines(1000, 10 + 1000 * i);
    await pass(0.2);
  }
  expect(last()).toBe(30_009);
  expect(screen.text.length / 100).toBeLessThanOrEqual(screen.capacity);
  checkWhole();
});

it('text that comes in drops makes few pieces', async () => {
  log.text = lines(1);
  await session.toEnd();
  for (let i = 0; i < 100; i++) {
    log.text += lines(1);
    await pass(0.05);
  }
  expect(screen.pieces.length).toBe(1);
  checkWhole();
});

it('jumps to the end where it is far behind, and says how much it passed over', async () => {
  log.text = lines(10);
  await session.toEnd();
  log.text += lines(200_000, 10);
  await pass(2);
  expect(last()).toBe(200_009);
  expect(session.state.skipped).toBeGreaterThan(15 * MIB);
  expect(log.asked.reduce((sum, limit) => sum + limit, 0)).toBeLessThan(5 * MIB);
  checkWhole();
  // What was passed over is still to be had.
  await session.older();
  checkWhole();
  expect(session.state.skipped).toBe(0);
});

it('stays where it is while not following, and says how much has come', async () => {
  log.text = lines(100);
  await session.toEnd();
  await session.follow(false);
  const shown = screen.text;
  log.text += lines(50, 100);
  await pass(3);
  expect(screen.text).toBe(shown);
  expect(session.state.size - session.state.end).toBe(5000);
  await session.follow(true);
  expect(last()).toBe(149);
});

it('learns of the end while it follows', async () => {
  log.text = `${lines(3)}unfinished`;
  await session.toEnd();
  expect(screen.text).toBe(lines(3));
  log.ended = true;
  await pass(1);
  expect(screen.text).toBe(log.text);
  expect(session.state.ended).toBe(true);
});

it('goes to a line with some before it', async () => {
  log.text = lines(50_000);
  log.ended = true;
  await session.toEnd();
  await session.jump(2_500_000, 4);
  expect(screen.at).toEqual({ offset: 2_500_000, lines: -4 });
  const piece = screen.pieces.find(({ offset }) => offset === 2_500_000);
  expect(Number(piece!.text.slice(0, 9))).toBe(25_000);
  checkWhole();
});

it('a new size of the terminal ends nothing that is being loaded, and keeps the place', async () => {
  log.text = lines(50_000);
  await session.toEnd();
  const { start } = session.state;
  screen.top = { offset: start, lines: 7 };
  await Promise.all([session.older(), session.redraw()]);
  expect(session.state.start).toBeLessThan(start);
  expect(screen.at).toEqual({ offset: start, lines: 7 });
  checkWhole();
});

it.each([50, 20, 10])('in %i columns as well all can be reached', async columns => {
  log.text = lines(20_000);
  log.ended = true;
  await session.toEnd();
  screen.columns = columns;
  await session.redraw();
  for (let i = 0; i < 200 && session.state.start > 0; i++) {
    const before = session.state.start;
    await session.older();
    expect(session.state.start).toBeLessThan(before);
    expect((screen.text.length / 100) * (100 / columns)).toBeLessThanOrEqual(screen.capacity);
    checkWhole();
  }
  expect(session.state.start).toBe(0);
});

it('says why a page did not come, and gets it when told to', async () => {
  log.text = lines(100);
  log.failure = new Error('The Jupyter server does not answer');
  await session.toEnd();
  expect(session.state.error).toBe('The Jupyter server does not answer');
  await pass(60);
  expect(screen.text).toBe('');
  await session.retry();
  expect(session.state.error).toBe('');
  expect(last()).toBe(99);
  log.text += lines(1, 100);
  await pass(1);
  expect(last()).toBe(100);
});

it('asks for nothing while paused, and catches up afterwards', async () => {
  log.text = lines(100);
  await session.toEnd();
  session.pause(true);
  await pass(1);
  const { opened } = log;
  const asked = log.asked.length;
  log.text += lines(10, 100);
  await pass(60);
  expect([log.opened, log.asked.length]).toEqual([opened, asked]);
  session.pause(false);
  await pass(1);
  expect(last()).toBe(109);
  checkWhole();
});

it('an answer that comes after another place was asked for changes nothing', async () => {
  log.text = lines(50_000);
  log.ended = true;
  let answer: () => void = () => undefined;
  jest.spyOn(log, 'log').mockImplementationOnce(
    (_id, _place, offset, limit) =>
      new Promise(resolve => {
        answer = () => resolve(log.piece(offset, limit));
      })
  );
  void session.toStart();
  await pass(0.1);
  await session.toEnd();
  answer();
  await pass(1);
  expect(screen.shows).toBe(1);
  expect(last()).toBe(49_999);
});

it('tells of changes at most ten times a second', async () => {
  log.text = lines(1);
  let told = 0;
  session.changed.connect(() => {
    told++;
  });
  await session.toEnd();
  for (let i = 0; i < 100; i++) {
    log.text += lines(1);
    await pass(0.02);
  }
  expect(told).toBeGreaterThan(5);
  expect(told).toBeLessThanOrEqual(21);
});

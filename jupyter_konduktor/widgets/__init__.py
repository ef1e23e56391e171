"""The job in the notebook: a widget made of core ipywidgets, and what is left of it when nothing is live."""

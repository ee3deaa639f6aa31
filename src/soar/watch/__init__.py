"""The page in the browser that shows a fleet or a run, and steers it.

A panel of the page is a function of `place.Place` that returns a `panel.Panel`: routes, values that are sent as they
change, and a script in `static/` that draws it. `app.PANELS` lists them.
"""

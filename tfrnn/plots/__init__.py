"""Pictures: curves over epochs, forecasts, batches, units and gates over a text, and a page that shows surprisal.

In come plain numbers and strings, never models; out come PNG pictures in one style that is readable in shades of grey,
or a page of HTML. matplotlib is imported when the first picture is drawn; nothing here imports TensorFlow.
"""

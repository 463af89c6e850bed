"""Pictures: curves over epochs, forecasts, batches, units and gates over a text, and a page that shows surprisal.

Input: numbers and strings, never models. Output: PNG pictures in one style that is readable in shades of grey
(`curves`, `text_plots`), or a page of HTML (`heat_map`). matplotlib is imported when the first picture is drawn;
nothing here imports TensorFlow.
"""

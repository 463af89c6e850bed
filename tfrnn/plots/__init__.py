"""Pictures: curves over epochs, forecasts, batches, units and gates over a text.

Input: numbers and strings, never models. Output: PNG pictures in one style that is readable in shades of grey
(`curves`, `text_plots`). matplotlib is imported when the first picture is drawn; nothing here imports TensorFlow.
"""

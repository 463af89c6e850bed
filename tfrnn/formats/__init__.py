"""Exports a trained model to files that other programs read: SavedModel, safetensors, LiteRT, ONNX and a page of HTML.

Input: a model, its vocabulary and its settings. Output: a folder that can be read without tfrnn. Each format has a
module, which writes the file and reads it back to compare it with the model; `exporting` makes the folder, and
`exported_step` the function of one step that most formats contain. `page` is the one that needs no program but a
browser, and is also what `show` puts into a notebook and what evaluate writes as its heat map.
"""

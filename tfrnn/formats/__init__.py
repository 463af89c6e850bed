"""Exports a trained model to files that other programs read: SavedModel, safetensors, LiteRT and ONNX.

Input: a model, its vocabulary and its settings. Output: a folder that can be read without tfrnn. Each format has a
module, which writes the file and reads it back to compare it with the model; `exporting` makes the folder, and
`exported_step` the function of one step that most formats contain.
"""

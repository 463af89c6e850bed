"""A trained model as files that other programs read: SavedModel, safetensors, LiteRT and ONNX.

In come a model, its vocabulary and its settings; out comes a folder that needs no tfrnn to be read. Each format is one
file here, with how it is written and how it is read back to be compared with the model.
"""

"""The napari plugin: thin widgets over the core.

Nothing is imported here, so that napari can read the manifest and list the
plugin without loading torch.
"""

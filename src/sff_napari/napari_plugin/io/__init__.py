"""Read and write what napari opens and saves for the plugin; the sample."""

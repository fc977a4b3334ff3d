"""Many photos: decoding, matting and encoding overlap."""

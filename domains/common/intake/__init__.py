"""Reading what people upload: kinds told by content, sizes bounded before decoding, nothing executed."""

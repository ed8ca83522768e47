"""Names of tensors in files → names in the library's classes: of original layouts, other versions, and LoRAs."""

"""Where images come from, said in their files: XMP for readers that know only that, and signed C2PA manifests."""

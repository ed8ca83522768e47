"""The pages, and what needs no key: health, files, samples, the OpenAPI document."""

"""The API's paths, a module for each kind of resource."""

"""What operators see and change: workers, servers, scaling, time series, metrics."""

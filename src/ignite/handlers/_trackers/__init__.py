"""What loggers are made of: values taken apart, copied to the host without waiting, buffered for servers."""

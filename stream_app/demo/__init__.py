"""The demo: real purchases and real trades, an embedded broker, a worker, and a page in the terminal."""

"""What tests stand on: a scripted server over real sockets, a small fake of the service on it, and recorded turns."""

"""Does nothing: only the ClientApp is measured."""

from flwr.serverapp import ServerApp

app = ServerApp()

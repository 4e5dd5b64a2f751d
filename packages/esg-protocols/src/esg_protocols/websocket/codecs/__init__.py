"""One class for each way to speak WebSocket; :data:`esg_protocols.websocket.CODECS` has their names."""

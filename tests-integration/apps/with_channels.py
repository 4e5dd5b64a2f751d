"""A consumer of Django Channels: a group in which all hear what one says."""

import django
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

settings.configure(
    SECRET_KEY="of no use",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()
urlpatterns = []


class Group(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.group = self.scope["url_route"]["kwargs"]["group"]
        if self.group == "closed":
            await self.close()
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.group, {"type": "tell", "content": content})

    async def tell(self, event):
        await self.send_json(event["content"])

    async def disconnect(self, code):
        print(f"app: disconnected {code}", flush=True)
        await self.channel_layer.group_discard(self.group, self.channel_name)


app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("group/<group>", Group.as_asgi())]),
    }
)

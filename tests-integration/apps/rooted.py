"""The same two pages in three frameworks: they tell the URL of the second, and the path that was asked for."""


def starlette():
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def item(request):
        return JSONResponse({"url": str(request.url_for("item", number=7)), "path": request.scope["path"]})

    return Starlette(routes=[Route("/", item, name="index"), Route("/item/{number}", item, name="item")])


def fastapi():
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.get("/")
    @app.get("/item/{number}", name="item")
    async def item(request: Request):
        return {"url": str(request.url_for("item", number=7)), "path": request.scope["path"]}

    return app


def django():
    from django import setup
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import JsonResponse
    from django.urls import path, reverse

    def item(request, number=7):
        url = request.build_absolute_uri(reverse("item", kwargs={"number": number}))
        return JsonResponse({"url": url, "path": request.path})

    urls = (path("", item), path("item/<int:number>", item, name="item"))
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    setup()
    return get_asgi_application()

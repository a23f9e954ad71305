"""Requests of an ASGI application (FastAPI, Starlette, Quart), reported to Tachograph.

    app.add_middleware(TachographMiddleware)           # FastAPI, Starlette
    app = TachographMiddleware(app)                    # any other

The route is the pattern that the framework matched, never the path: paths hold ids. `auth_type`
is given the scope when the answer has been sent, and says `jwt`, `api_key`, `none`, or None where
it is not known.
"""

import time

from tachograph_report import report

METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
VERSIONS = {"1.0", "1.1", "2", "3"}


class TachographMiddleware:
    def __init__(self, app, auth_type=lambda scope: None):
        self.app = app
        self.auth_type = auth_type

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        seen = {"status": None, "received": 0, "read": False, "sent": 0}

        async def receiving():
            message = await receive()
            seen["received"] += len(message.get("body", b""))
            seen["read"] = message["type"] == "http.request" and not message.get("more_body", False)
            return message

        async def sending(message):
            if message["type"] == "http.response.start":
                seen["status"] = str(message["status"])
            seen["sent"] += len(message.get("body", b""))
            await send(message)

        began, error = time.monotonic(), None
        try:
            await self.app(scope, receiving, sending)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            self.report(scope, seen, error, time.monotonic() - began)

    def report(self, scope, seen, error, took):
        status = seen["status"]
        if not error and status and status >= "500":
            error = status
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        version = scope.get("http_version")
        fields = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": version if version in VERSIONS else None,
            "http.route": getattr(scope.get("route"), "path", None) or "unmatched",
            "http.response.status_code": status,
            "error.type": error,
            "auth.type": self.auth_type(scope),
            # A body that was not read to its end has a size that is not known.
            "http.request.body.size": seen["received"] if seen["read"] else None,
            "http.response.body.size": seen["sent"],
        }
        report("http.server.request", fields, duration=took)

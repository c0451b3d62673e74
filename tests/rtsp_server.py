"""A program for tests: an RTSP server on loopback that plays a 440 Hz tone. Needs the system's Python and GStreamer.

Usage: rtsp_server.py PORT RATE CHANNELS
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

Gst.init(None)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( audiotestsrc is-live=true freq=440 volume=0.5 ! audio/x-raw,rate={sys.argv[2]},channels={sys.argv[3]}"
    " ! audioconvert ! rtpL16pay name=pay0 )"
)
factory.set_shared(False)  # GStreamer 1.22 aborts when a client leaves what another one is joining
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
server.get_mount_points().add_factory("/tone", factory)
server.attach(None)
GLib.MainLoop().run()

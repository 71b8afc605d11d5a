import time
def test_a(served):
    t=time.time(); c=served.client("agent").call("python_run", {"code":"print(6*7)"}); print(c, time.time()-t)
    print(served.rows(), served.events(c.name), served.resident_bytes())
def test_b(serve):
    t=time.time(); s=serve(); print(time.time()-t); s.stop()

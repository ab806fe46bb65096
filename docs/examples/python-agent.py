#!/usr/bin/env python3
"""A small agent in Python: pip install "python-socketio[client]" websocket-client

It follows docs/agent-protocol.md in what keeps commands safe (journal before ack, one effect per command, results until
confirmed, the fence, full jitter) and leaves out `move` and time limits. Its sessions exist in a dictionary.
"""
import json, os, queue, random, threading, time, uuid
import socketio

URL, AGENT_ID, KEY = os.environ["STREAMSPACE_URL"], os.environ["AGENT_ID"], os.environ["AGENT_KEY"]
JOURNAL = os.environ.get("AGENT_JOURNAL", "journal.jsonl")


class Journal:
    """Append-only: received (whole command), ended (outcome), confirmed; applied generations follow from it."""

    def __init__(self, path):
        self.commands, self.outcomes, self.unconfirmed, self.applied = {}, {}, {}, {}
        self.ids, self.lock = {}, threading.RLock()
        if os.path.exists(path):
            with open(path) as file:
                for line in file:
                    if line.endswith("\n"):  # a torn last line was never acknowledged
                        self.apply(json.loads(line))
        self.file = open(path, "a")
        if not self.ids:
            self.write({"ids": {"instanceId": str(uuid.uuid4()), "journalId": str(uuid.uuid4())}})

    def apply(self, entry):
        if "ids" in entry:
            self.ids = entry["ids"]
        if "received" in entry:
            self.commands[entry["received"]["commandId"]] = entry["received"]
        if "begun" in entry:
            self.applied[entry["begun"][0]] = entry["begun"][1]
        if "ended" in entry:
            self.outcomes[entry["ended"]] = self.unconfirmed[entry["ended"]] = entry["outcome"]
        if "confirmed" in entry:
            self.unconfirmed.pop(entry["confirmed"], None)

    def write(self, *entries):
        with self.lock:
            self.file.write("".join(json.dumps(entry) + "\n" for entry in entries))
            self.file.flush()
            os.fsync(self.file.fileno())
            for entry in entries:
                self.apply(entry)


journal, sessions, lanes, highest_epoch = Journal(JOURNAL), {}, {}, 0
client = None


def carry_out(command):
    session, generation = command["sessionId"], command["generation"]
    if session is not None and generation is not None:
        if generation <= journal.applied.get(session, 0) and command["commandId"] not in interrupted:
            return {"status": "cancelled", "errorCode": "superseded", "errorMessage": "A later command took its place."}
        journal.write({"begun": [session, generation]})
    if command["action"] in ("start_session", "wake_session"):
        sessions[session] = {"sessionId": session, "generation": generation, "state": "running"}
        return {"status": "completed", "result": {"endpoint": {"host": "127.0.0.1", "port": 8080}}}
    if command["action"] == "hibernate_session":
        sessions[session] = {"sessionId": session, "generation": generation, "state": "hibernated"}
        return {"status": "completed"}
    if command["action"] == "stop_session":
        sessions.pop(session, None)
        return {"status": "completed"}
    if command["action"] == "ping":
        return {"status": "completed", "result": {"host": os.uname().nodename, "pid": os.getpid()}}
    return {"status": "failed", "errorCode": "unknown_action", "errorMessage": command["action"]}


def run_lane(lane):  # one session's commands, one at a time
    while True:
        command = lane.get()
        outcome = carry_out(command)
        journal.write({"ended": command["commandId"], "outcome": outcome})
        send_results()


def enqueue(command):
    key = command["sessionId"] or ""
    if key not in lanes:
        lanes[key] = queue.Queue()
        threading.Thread(target=run_lane, args=(lanes[key],), daemon=True).start()
    lanes[key].put(command)


def send_results():
    if client is None or not client.connected:
        return
    batch = [{"commandId": id, "attempt": journal.commands[id]["attempt"], "outcome": outcome}
             for id, outcome in list(journal.unconfirmed.items())[:100]]
    if batch:
        client.emit("results", {"results": batch}, namespace="/agents", callback=lambda answer: journal.write(
            *({"confirmed": id} for id in answer["confirmed"])))


def connect_once():
    """Returns when the connection is over: True if it was welcomed, and the wait that the server asks for."""
    global client, highest_epoch
    io, over, state = socketio.Client(reconnection=False), threading.Event(), {"welcomed": False, "retry": 0}

    def current(message):  # the fence
        return state["welcomed"] and io is client and message["epoch"] >= highest_epoch

    @io.on("welcome", namespace="/agents")
    def welcome(message):
        global client, highest_epoch
        client, highest_epoch, state["welcomed"] = io, message["epoch"], True
        send_results()

    @io.on("commands", namespace="/agents")
    def commands(message):
        if not current(message):
            return None
        with journal.lock:
            fresh = {c["commandId"]: c for c in message["commands"] if c["commandId"] not in journal.commands}
            journal.write(*({"received": command} for command in fresh.values()))  # on disk before the ack
            for command in message["commands"]:
                if command["commandId"] in journal.outcomes:  # a repeat: its result goes again
                    journal.commands[command["commandId"]]["attempt"] = command["attempt"]
                    journal.unconfirmed[command["commandId"]] = journal.outcomes[command["commandId"]]
            for command in fresh.values():
                enqueue(command)
        send_results()
        return {"acknowledged": [command["commandId"] for command in message["commands"]]}

    @io.on("resume", namespace="/agents")
    def resume(message):
        def state_of(id):
            if id in journal.outcomes:
                return {"commandId": id, "state": "ended", "outcome": journal.outcomes[id]}
            return {"commandId": id, "state": "held" if id in journal.commands else "unknown"}
        with journal.lock:
            return {"commands": [state_of(command["commandId"]) for command in message["commands"]]}

    @io.on("inventory", namespace="/agents")
    def inventory(message):
        return {"complete": True, "sessions": list(sessions.values())}

    @io.on("request", namespace="/agents")
    def request(message):
        if message["kind"] == "ping":
            return {"ok": True, "payload": {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}
        return {"ok": False, "code": "unknown_kind", "message": message["kind"]}

    @io.on("connect_error", namespace="/agents")
    def refused(error):
        data = error.get("data") if isinstance(error, dict) else None
        state["retry"] = (data or {}).get("retryAfterMs", 0) / 1000
        print("refused:", (data or {}).get("code"), error)
        over.set()

    io.on("disconnect", lambda *_: over.set(), namespace="/agents")
    hello = {"agentId": AGENT_ID, "key": KEY, "protocolVersion": 1, **journal.ids, "highestEpoch": highest_epoch,
             "platform": "process", "capacity": {"maxSessions": 100}, "version": "python-example"}
    try:
        io.connect(URL, auth=hello, namespaces=["/agents"], socketio_path="agents", transports=["websocket"], wait=False)
        deadline = time.monotonic() + 10
        while not over.wait(1) and (state["welcomed"] or time.monotonic() < deadline):
            if time.monotonic() > deadline:
                deadline = time.monotonic() + 10
                send_results()  # what was not confirmed goes again
    except socketio.exceptions.ConnectionError as error:
        print("cannot connect:", error)
    io.disconnect()
    return state["welcomed"], state["retry"]


interrupted = {id for id in journal.commands if id not in journal.outcomes}
for command_id in interrupted:
    enqueue(journal.commands[command_id])
failures = 0
while True:
    started = time.monotonic()
    welcomed, retry_after = connect_once()
    failures = 0 if welcomed and time.monotonic() - started > 30 else failures
    time.sleep(retry_after + random.uniform(0, min(30, 2**failures)))
    failures += 1

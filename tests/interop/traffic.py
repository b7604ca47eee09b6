# SPDX-License-Identifier: BSD-3-Clause
"""
Traffic that goes on while a test changes things: a peer's end of a tunnel, alive in a thread of its own.
"""
import threading
import time

import lab
import wgpeer
from wgpeer import DATA, INITIATION, RESPONSE, ProtocolError


class Traffic:
    """
    Numbered packets between a client (conformance.Client, with a session) and a host, one each way
    every INTERVAL_S, for as long as the context lasts. Every message of the gateway's is recorded, and
    answered as a stock peer would do; but only the test has this end begin a handshake.

        sent       packets each way up to now; the numbers are 0 to sent - 1
        inbound    [(our session, number)] in the order in which they came to the host
        outbound   [(our session, number)] in the order in which they came to us
        sessions   all of them, the oldest first; the last one is sent with
        strangers  initiations of a key that we do not know
        refused    responses that did not authenticate
    """

    INTERVAL_S = 0.004

    def __init__(self, client, host):
        self.client, self.host = client, host
        self.sent, self.strangers, self.refused = 0, 0, 0
        self.inbound, self.outbound, self.sessions = [], [], [client.session]
        self.trying = []  # initiators without an answer
        self.failure = None
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        self.flows()
        return self

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()
        if self.failure and not error[0]:
            raise self.failure

    # --- For the test ---

    def mark(self):
        """The number of the first packets that are sent from now on."""
        with self.lock:
            return self.sent

    def configure(self, remote_public=None, psk=None):
        """What the gateway's key is from now on, or the preshared one."""
        with self.lock:
            self.client.remote_public = remote_public or self.client.remote_public
            self.client.psk = psk or self.client.psk

    def initiate(self):
        """Begins a handshake."""
        with self.lock:
            time.sleep(0.025)  # two within 20 ms are a flood
            self.trying.append(self.client.initiator())
            self.client.send(self.trying[-1].message())

    def flows(self, session=None):
        """Waits until 20 more packets have passed each way, all of them under the session, if given."""
        mark = self.mark()

        def passed(way):
            return sum(number >= mark and session in (None, its) for its, number in way) >= 20

        self.wait("traffic both ways", lambda: passed(self.inbound) and passed(self.outbound))

    def wait(self, what, condition):
        lab.wait_for(what, lambda: self.failure or condition(), timeout=8)
        if self.failure:
            raise self.failure

    def stop_and_settle(self):
        """Sends no more, and waits for what is under way."""
        self.ended.set()
        self.thread.join()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            self._read()
            time.sleep(self.INTERVAL_S)

    # --- The thread ---

    def _run(self):
        try:
            while not self.ended.is_set():
                with self.lock:
                    self._write()
                    self._read()
                time.sleep(self.INTERVAL_S)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def _write(self):
        payload = b"%d %d" % (len(self.sessions) - 1, self.sent)
        self.client.send(self.sessions[-1].seal(self.client.packet(self.host, payload)))
        self.host.send(self.client, b"%d" % self.sent)
        self.sent += 1

    def _read(self):
        while (got := self.host.receive(0)) is not None:
            session, number = map(int, got.data.split())
            self.inbound.append((self.sessions[session], number))
        while (got := self.client.receive(0)) is not None:
            {INITIATION: self._respond, RESPONSE: self._finish, DATA: self._open}[got.kind](got)

    def _respond(self, got):
        responder = wgpeer.Responder(self.client.static, got.data)
        if responder.remote_public != self.client.remote_public:
            self.strangers += 1
            return
        message, session = responder.respond(self.client.psk)
        self.client.send(message)
        self.sessions.append(session)

    def _finish(self, got):
        for initiator in self.trying:
            if got.data[8:12] == initiator.index.to_bytes(4, "little"):
                try:
                    self.sessions.append(initiator.consume_response(got.data))
                except ProtocolError:
                    self.refused += 1

    def _open(self, got):
        session, = (s for s in self.sessions if got.data[4:8] == s.index.to_bytes(4, "little"))
        _counter, plaintext = session.open(got.data)
        if plaintext:
            self.outbound.append((session, int(wgpeer.Inner(plaintext).payload)))

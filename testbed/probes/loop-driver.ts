/**
 * Has the loop do things, and prints what happens, a line each. conformance/agent/loop.test.ts runs it.
 *
 *   loop-driver watch DIRECTORY    prints changes in it and signals, until SIGTERM
 *   loop-driver timers             prints timers as they are due
 *   loop-driver pairs              two sockets are ready at once; who is called first does not want the other any more
 *   loop-driver serve              takes connections on a port of 127.0.0.1, which it prints first, and says "hello"
 *   loop-driver lookup HOST        prints the addresses
 *   loop-driver crash              reads beyond the end of an array of bytes
 */
import { print } from "../../lib/host/io.ts";
import { textAt } from "../../lib/lists.ts";
import { DirectoryHandler, DirectoryWatch } from "../../lib/loop/inotify.ts";
import { Loop, Timed, Watched } from "../../lib/loop/loop.ts";
import { SignalHandler, Signals } from "../../lib/loop/signals.ts";
import { reportCrashes, SIGHUP, SIGINT } from "../../lib/sys/loop.ts";
import { bind, send, socketPair } from "../../lib/sys/network.ts";
import { close, exit, must, POLLIN, read, SIGTERM } from "../../lib/sys/sys.ts";
import { accept, listen, lookUp, tcpSocket } from "../../lib/sys/tcp.ts";
import { hexOf } from "../../lib/text.ts";

const loop = new Loop();

function say(line: string): void {
  print(`${line}\n`);
}

class Shown extends SignalHandler {
  override received(signal: number): void {
    say(`signal ${signal}`);
    if (signal === SIGTERM) loop.stop();
  }
}

class Files extends DirectoryHandler {
  override changed(name: string): void {
    say(`changed ${name}`);
  }

  override overflowed(): void {
    say("overflowed");
  }

  override gone(): void {
    say("gone");
  }
}

class Spoken extends Timed {
  readonly #name: string;
  readonly #then: Timed | null;

  constructor(name: string, then: Timed | null) {
    super();
    this.#name = name;
    this.#then = then;
  }

  override due(): void {
    say(this.#name);
    if (this.#then !== null) loop.after(0, this.#then);
  }
}

class End extends Timed {
  override due(): void {
    loop.stop();
  }
}

class Canceller extends Timed {
  readonly #other: Timed;

  constructor(other: Timed) {
    super();
    this.#other = other;
  }

  override due(): void {
    say("cancels");
    loop.cancel(this.#other);
  }
}

function timers(): void {
  const never = new Spoken("never", null);
  const moved = new Spoken("moved", null);
  loop.after(40, new Spoken("last", new End()));
  loop.after(20, moved);
  loop.after(10, new Spoken("first", new Spoken("after first", null)));
  loop.after(10, new Canceller(never));
  loop.after(10, never);
  loop.after(30, moved);
  loop.run();
}

/** A socket that wants nothing of another one any more when it is called. */
class Jealous extends Watched {
  readonly #name: string;
  readonly #own: number;
  readonly #other: number;

  constructor(name: string, own: number, other: number) {
    super();
    this.#name = name;
    this.#own = own;
    this.#other = other;
  }

  override ready(events: number): void {
    say(`${this.#name} ${events}`);
    loop.unwatch(this.#other);
    read(this.#own, new Uint8Array(8), 0, 8);
    loop.after(10, new End());
  }
}

function pairs(): void {
  const one = socketPair();
  const two = socketPair();
  if (one === null || two === null) return;
  loop.watch(one.first, POLLIN, new Jealous("one", one.first, two.first));
  loop.watch(two.first, POLLIN, new Jealous("two", two.first, one.first));
  const byte = new Uint8Array(1);
  send(one.second, byte, 0, 1);
  send(two.second, byte, 0, 1);
  loop.run();
}

class Server extends Watched {
  readonly #fd: number;

  constructor(fd: number) {
    super();
    this.#fd = fd;
  }

  override ready(_events: number): void {
    const fd = accept(this.#fd);
    if (fd < 0) return;
    send(fd, new TextEncoder().encode("hello"), 0, 5);
    close(fd);
  }
}

function serve(port: number): void {
  const { addresses } = lookUp("127.0.0.1", port);
  for (const address of addresses) {
    const fd = must(tcpSocket(address), "open a socket");
    must(bind(fd, address), "bind");
    must(listen(fd, 8), "listen");
    loop.watch(fd, POLLIN, new Server(fd));
  }
  new Signals(loop, [SIGTERM], new Shown());
  say("ready");
  loop.run();
}

function main(list: readonly string[]): void {
  const what = textAt(list, 0);
  if (what === "watch") {
    new Signals(loop, [SIGTERM, SIGINT, SIGHUP], new Shown());
    new DirectoryWatch(loop, textAt(list, 1), new Files());
    say("ready");
    loop.run();
  } else if (what === "timers") timers();
  else if (what === "pairs") pairs();
  else if (what === "serve") serve(parseInt(textAt(list, 1), 10));
  else if (what === "lookup") {
    const { addresses, problem } = lookUp(textAt(list, 1), 443);
    for (const address of addresses) say(hexOf(address, ""));
    if (problem !== "") say(problem);
  } else if (what === "crash") {
    const bytes = new Uint8Array(list.length);
    bytes[list.length * 2] = 1;
    say(`${bytes[list.length * 3]}`);
  }
}

reportCrashes();
main(process.argv.slice(2));
exit(0);

/**
 * Connects to a TLS server as the agent does, and prints what happens, a line each. conformance/agent/tls.test.ts runs it.
 *
 *   tls-client HOST PORT NAME CA CERTIFICATE KEY ACTION...     files of PEM; - for none
 *
 * The actions of a connection: `say=TEXT` and `send=BYTES` write, `wait` reads once, `read` reads to the end. `times=N` makes as
 * many connections one after the other, and prints how much memory the process has after some and after all of them.
 */
import { print, readText } from "../../lib/host/io.ts";
import { textAt } from "../../lib/lists.ts";
import { EAGAIN } from "../../lib/sys/errno.ts";
import { reportCrashes } from "../../lib/sys/loop.ts";
import { close, exit, POLLIN, POLLOUT, poll } from "../../lib/sys/sys.ts";
import { connect, connectionError, keepAlive, lookUp, tcpSocket } from "../../lib/sys/tcp.ts";
import {
  closeTls,
  FAILED,
  handshake,
  openTls,
  readTls,
  tlsReason,
  WANT_READ,
  WANT_WRITE,
  writeTls,
} from "../../lib/sys/tls.ts";
import { connectionText } from "../../lib/sys/tls-reason.ts";

const PATIENCE_MS = 20_000;
const EINPROGRESS = 115;
/** After as many connections everything that is made once has been made. */
const WARM = 20;

function say(line: string): void {
  print(`${line}\n`);
}

function fileText(path: string): string {
  return path === "-" ? "" : `${readText(path) ?? ""}\n`;
}

/** Waits for what a result asks for; false if that does not come. */
function waited(fd: number, result: number): boolean {
  return poll(fd, result === WANT_READ ? POLLIN : POLLOUT, PATIENCE_MS) > 0;
}

/** A socket that is connected; -1 if that failed. */
function connected(host: string, port: number): number {
  const { addresses, problem } = lookUp(host, port);
  if (problem !== "") say(`failed: ${problem}`);
  for (const address of addresses) {
    const fd = tcpSocket(address);
    keepAlive(fd, { idleS: 30, intervalS: 10, count: 3, unansweredMs: 60_000 });
    const result = connect(fd, address);
    if (result === -EINPROGRESS || result === -EAGAIN || result === 0) {
      poll(fd, POLLOUT, PATIENCE_MS);
      const error = connectionError(fd);
      if (error === 0) return fd;
      say(`failed: ${connectionText(error)}`);
    } else say(`failed: ${connectionText(-result)}`);
    close(fd);
  }
  return -1;
}

/** Writes all bytes; false if that failed. */
function wrote(fd: number, session: number, bytes: Uint8Array): boolean {
  let done = 0;
  while (done < bytes.length) {
    const count = writeTls(session, bytes, done, bytes.length - done);
    if (count > 0) done += count;
    else if (count === FAILED || !waited(fd, count)) return false;
  }
  say(`sent ${done}`);
  return true;
}

/** Reads to the end, or once; false if that failed. Prints how many bytes came, and a sum of them. */
function hasRead(fd: number, session: number, once: boolean): boolean {
  const buffer = new Uint8Array(10_000);
  let total = 0;
  let sum = 0;
  for (;;) {
    const count = readTls(session, buffer, 0, buffer.length);
    if (count > 0) {
      for (let at = 0; at < count; at += 1) sum = (sum * 31 + (buffer[at] ?? 0)) >>> 0;
      total += count;
      if (once) break;
    } else if (count === 0) {
      say(`received ${total} ${sum}`);
      say("closed");
      return true;
    } else if (count === FAILED || !waited(fd, count)) {
      say(`received ${total} ${sum}`);
      return false;
    }
  }
  say(`received ${total} ${sum}`);
  return true;
}

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = (at * 7 + (at >>> 8)) & 0xff;
  return bytes;
}

function act(fd: number, session: number, actions: readonly string[]): boolean {
  for (const action of actions) {
    const value = action.slice(action.indexOf("=") + 1);
    if (action.startsWith("say=") && !wrote(fd, session, new TextEncoder().encode(value))) return false;
    if (action.startsWith("send=") && !wrote(fd, session, pattern(parseInt(value, 10)))) return false;
    if ((action === "read" || action === "wait") && !hasRead(fd, session, action === "wait")) return false;
  }
  return true;
}

/** One connection: false if something failed, which is printed. */
function connection(list: readonly string[]): boolean {
  const fd = connected(textAt(list, 0), parseInt(textAt(list, 1), 10));
  if (fd < 0) return false;
  const session = openTls(
    fd,
    fileText(textAt(list, 3)),
    textAt(list, 2),
    fileText(textAt(list, 4)),
    fileText(textAt(list, 5)),
  );
  let isGood = session >= 0;
  if (isGood) {
    let result = handshake(session);
    while ((result === WANT_READ || result === WANT_WRITE) && waited(fd, result)) result = handshake(session);
    isGood = result === 0;
    if (isGood) say("handshake");
    isGood = isGood && act(fd, session, list.slice(6));
  }
  if (!isGood) say(`failed: ${tlsReason()}`);
  if (session >= 0) closeTls(session);
  close(fd);
  return isGood;
}

/** Of memory that no other process has, in kB. */
function memory(): string {
  for (const line of (readText("/proc/self/status") ?? "").split("\n")) {
    if (line.startsWith("VmRSS:")) return line.slice(6).trim();
  }
  return "";
}

function main(list: readonly string[]): number {
  let times = 1;
  for (const word of list) if (word.startsWith("times=")) times = parseInt(word.slice(6), 10);
  for (let done = 0; done < times; done += 1) {
    if (!connection(list)) return 1;
    if (times > 1 && (done === WARM || done === times - 1)) say(`memory ${memory()}`);
  }
  return 0;
}

reportCrashes();
exit(main(process.argv.slice(2)));

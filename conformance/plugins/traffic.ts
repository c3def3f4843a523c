/** Real traffic for the black-box suites: servers and clients in any namespace, through one helper process a laboratory. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { JsonObject, Netns } from "../../testbed/harness.ts";

export type Protocol = "tcp" | "udp" | "sctp";

/**
 * How long a client waits for an answer, in milliseconds. A first packet may be lost while a link comes up, and is sent
 * again after a second, by TCP as well as by those who look for a neighbour.
 */
const PATIENCE_MS = 3000;

/** For questions that nobody is to answer: the wait is for nothing. */
export const BRIEFLY = { timeoutMs: 400 } as const;

export interface Server {
  readonly netns: Netns;
  readonly protocol: Protocol;
  readonly port: number;
  /** What the server calls itself in its answers. */
  readonly label: string;
  /** All addresses of both families if left out; SCTP always listens on all of `family`. */
  readonly address?: string;
  readonly family?: 4 | 6;
  /** Whether "::" is IPv6 alone. */
  readonly only6?: boolean;
  /** A multicast group to listen to on `link`, as well. */
  readonly group?: string;
  readonly link?: string;
}

export interface Question {
  readonly netns: Netns;
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number;
  readonly source?: string;
  readonly sourcePort?: number;
  /** What a UDP or SCTP server gets to read. */
  readonly text?: string;
  readonly timeoutMs?: number;
}

/** The helper process: `traffic-agent.py`. */
export class Traffic {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (answer: JsonObject) => void; reject: (error: Error) => void }>();
  #serial = 0;
  #stopping = false;

  constructor() {
    const script = fileURLToPath(new URL("traffic-agent.py", import.meta.url));
    /* Isolated (-I) and without site packages (-S): it starts faster, and nobody's environment matters. */
    this.#process = spawn("/usr/bin/python3", ["-I", "-S", script], { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#process.stdout === null) throw new Error("no pipe");
    createInterface({ input: this.#process.stdout }).on("line", (line) => this.#answered(JSON.parse(line)));
    this.#process.on("error", (error) => this.#failed(error));
    /* A request may be on its way when a test that failed ends the helper. */
    this.#process.stdin?.on("error", (error) => this.#failed(error));
    this.#process.on("close", (status) => this.#failed(new Error(`the traffic helper ended with status ${status}`)));
  }

  /** Starts a server; it listens when this returns. */
  async serve(server: Server): Promise<void> {
    await this.#request("serve", { ...server, netns: server.netns.path });
  }

  /** The same label on TCP, UDP and SCTP. */
  async serveAll(netns: Netns, label: string, port: number): Promise<void> {
    const servers: Server[] = [
      { netns, label, port, protocol: "tcp" },
      { netns, label, port, protocol: "udp" },
      { netns, label, port, protocol: "sctp", family: 4 },
      { netns, label, port, protocol: "sctp", family: 6 },
    ];
    await Promise.all(servers.map((server) => this.serve(server)));
  }

  /** Closes all servers of a namespace. An open socket would keep it alive after `ip netns del`. */
  async close(netns: Netns): Promise<void> {
    await this.#request("close", { netns: netns.path });
  }

  /** What servers with a label got since the last question: the sender's address and, of datagrams, the text. */
  async seen(netns: Netns, label: string): Promise<(readonly [string, string])[]> {
    return (await this.#request("seen", { netns: netns.path, label })).seen as (readonly [string, string])[];
  }

  /** Connects once: "LABEL saw ADDRESS", or "timeout", "refused", "unreachable". */
  async ask(question: Question): Promise<string> {
    const request = { timeoutMs: PATIENCE_MS, ...question, netns: question.netns.path };
    return String((await this.#request("ask", request)).outcome);
  }

  /** Makes a TCP connection whose server does not listen any more. It stays until the helper ends. */
  async connect(name: string, netns: Netns, server: Netns, address: string, port: number): Promise<void> {
    const request = { name, netns: netns.path, server: server.path, address, port, timeoutMs: PATIENCE_MS };
    await this.#request("connect", request);
  }

  /** Sends both ways over a connection made before: "alive", or how it failed. */
  async exchange(name: string): Promise<string> {
    return String((await this.#request("exchange", { name })).outcome);
  }

  /** Puts Ethernet frames on a link as they are. */
  async send(netns: Netns, link: string, ...frames: Uint8Array[]): Promise<void> {
    const hex = frames.map((frame) => Buffer.from(frame).toString("hex"));
    await this.#request("send", { netns: netns.path, link, frames: hex });
  }

  /** Ends the helper and with it all servers. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#process.once("close", resolve));
    this.#process.kill("SIGKILL");
    await closed;
  }

  async #request(op: string, request: JsonObject): Promise<JsonObject> {
    if (this.#stopping) throw new Error(`${op} after the traffic helper was stopped`);
    this.#serial += 1;
    const id = this.#serial;
    const answer = new Promise<JsonObject>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#process.stdin?.write(`${JSON.stringify({ ...request, id, op })}\n`);
    const { error, ...rest } = await answer;
    if (error !== undefined) throw new Error(`${op} ${JSON.stringify(request)}: ${error}`);
    return rest;
  }

  #answered(answer: JsonObject): void {
    const id = Number(answer.id);
    this.#waiting.get(id)?.resolve(answer);
    this.#waiting.delete(id);
  }

  #failed(error: Error): void {
    for (const { reject } of this.#waiting.values()) if (!this.#stopping) reject(error);
    this.#waiting.clear();
  }
}

/** An Ethernet frame with an IPv4 or IPv6 packet that holds a UDP datagram, for senders that lie. */
export function udpFrame(frame: {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly text: string | Uint8Array;
}): Uint8Array {
  const payload = Buffer.from(frame.text);
  const datagram = Buffer.alloc(8 + payload.length);
  datagram.writeUInt16BE(frame.sourcePort, 0);
  datagram.writeUInt16BE(frame.destinationPort, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  payload.copy(datagram, 8);
  const [source, destination] = [addressBytes(frame.source), addressBytes(frame.destination)];
  const pseudo = Buffer.concat([source, destination, Buffer.from([0, 17]), datagram.subarray(4, 6)]);
  datagram.writeUInt16BE(checksum(Buffer.concat([pseudo, datagram])) || 0xffff, 6);
  return ethernet(frame.sourceMac, frame.destinationMac, packet(17, source, destination, datagram, 64));
}

/** An ARP reply in an Ethernet frame: "address is at mac". */
export function arpFrame(frame: {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly senderMac: string;
  readonly sender: string;
  readonly target: string;
}): Uint8Array {
  const [sender, target] = [addressBytes(frame.sender), addressBytes(frame.target)];
  const body = [Buffer.from("0001080006040002", "hex"), macBytes(frame.senderMac), sender];
  const arp = Buffer.concat([...body, macBytes(frame.destinationMac), target]);
  return Buffer.concat([macBytes(frame.destinationMac), macBytes(frame.sourceMac), Buffer.from("0806", "hex"), arp]);
}

/**
 * An ICMPv6 message in an Ethernet frame, hop limit 255 as neighbour discovery asks.
 * @param body type and code, then the message; the checksum is filled in
 */
export function icmp6Frame(frame: {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly body: Uint8Array;
}): Uint8Array {
  const message = Buffer.from(frame.body);
  message.writeUInt16BE(0, 2);
  const [source, destination] = [addressBytes(frame.source), addressBytes(frame.destination)];
  const length = Buffer.alloc(8);
  length.writeUInt16BE(message.length, 2);
  length[7] = 58;
  message.writeUInt16BE(checksum(Buffer.concat([source, destination, length, message])), 2);
  return ethernet(frame.sourceMac, frame.destinationMac, packet(58, source, destination, message, 255));
}

function ethernet(source: string, destination: string, content: Buffer): Uint8Array {
  const type = (content[0] ?? 0) >> 4 === 4 ? "0800" : "86dd";
  return Buffer.concat([macBytes(destination), macBytes(source), Buffer.from(type, "hex"), content]);
}

function packet(protocol: number, source: Buffer, destination: Buffer, content: Buffer, hops: number): Buffer {
  if (source.length === 16) {
    const header = Buffer.from([0x60, 0, 0, 0, content.length >> 8, content.length & 255, protocol, hops]);
    return Buffer.concat([header, source, destination, content]);
  }
  const header = Buffer.from([0x45, 0, 0, 0, 0, 1, 0, 0, hops, protocol, 0, 0, ...source, ...destination]);
  header.writeUInt16BE(header.length + content.length, 2);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, content]);
}

/** The Internet checksum (RFC 1071). */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) + (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

/** The bytes of an address in network order. */
export function addressBytes(address: string): Buffer {
  if (/^[\d.]+$/.test(address)) return Buffer.from(address.split(".").map(Number));
  if (!address.includes(":")) throw new Error(`"${address}" is no address`);
  const [head = "", tail] = address.split("::");
  const words = (text: string) => (text === "" ? [] : text.split(":"));
  const [left, right] = [words(head), words(tail ?? "")];
  const zeros = Array.from({ length: tail === undefined ? 0 : 8 - left.length - right.length }, () => "0");
  return Buffer.from([...left, ...zeros, ...right].map((word) => word.padStart(4, "0")).join(""), "hex");
}

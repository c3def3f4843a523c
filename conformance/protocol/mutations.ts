/** Inputs for the fuzzing of the plugins: valid calls, spoilt in ways that depend on the seed and the number alone. */

import { configuration, type Places, peers, previous, type Value } from "./configurations.ts";
import { Random } from "./random.ts";

/** One call: the plugin, its whole environment, and the bytes on its stdin. */
export interface FuzzInput {
  readonly plugin: string;
  readonly env: Record<string, string>;
  readonly stdin: Buffer;
  /** What is in the file of the peers, which vxlan-overlay reads; null for the others. */
  readonly peers: Buffer | null;
  /** How it was spoilt, for people. */
  readonly mutations: readonly string[];
}

const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.0.0", "1.1.0", "1.1.0", "1.1.0", "1.1.0"];
const COMMANDS = ["ADD", "ADD", "ADD", "ADD", "CHECK", "CHECK", "DEL", "DEL", "GC", "STATUS", "VERSION"];

const NASTY_STRINGS = [
  "",
  " ",
  ".",
  "..",
  "/",
  "../../../../etc/passwd",
  "\u0000",
  "eth0\u0000x",
  "a\nb",
  "\u001b[2J",
  "\u007f",
  "\ufeff",
  "\u2028",
  "\u{1f600}",
  "\ufffd",
  "é".repeat(20),
  "%s%n%x",
  "$HOME",
  "-1",
  "0",
  "true",
  "null",
  "[]",
  "x".repeat(15),
  "x".repeat(16),
  "x".repeat(300),
  "x".repeat(70_000),
  "0.0.0.0/0",
  "::/0",
  "::",
  "10.1.2.3",
  "10.1.2.3/33",
  "10.1.2.0/31",
  "10.1.2.0/32",
  "255.255.255.255/32",
  "224.0.0.1/4",
  "127.0.0.1/8",
  "fd00::/128",
  "fd00::/127",
  "fe80::1%lo/64",
  "::ffff:10.0.0.1/120",
  "1.2.3.4.5/8",
  "00:11:22:33:44:55",
  "ff:ff:ff:ff:ff:ff",
  "00:00:00:00:00:00",
  "01:00:5e:00:00:01",
  "zz:zz:zz:zz:zz:zz",
  "00:11:22:33:44:55:66:77",
  "lo",
  "all",
  "default",
  "cni0",
  "bridge",
  "host-local",
  "loopback",
  "ptp",
  "static",
  "podwire",
  "no-such-plugin",
  "9.8.7",
  "1.1",
  "iptables",
  "nftables",
];

const NASTY_NUMBERS = [
  "0",
  "-0",
  "1",
  "-1",
  "2",
  "31",
  "32",
  "33",
  "67",
  "68",
  "127",
  "128",
  "129",
  "255",
  "256",
  "1279",
  "1280",
  "1500",
  "4094",
  "4095",
  "4096",
  "65535",
  "65536",
  "2147483647",
  "2147483648",
  "-2147483648",
  "-2147483649",
  "4294967295",
  "4294967296",
  "9007199254740991",
  "9007199254740993",
  "9223372036854775807",
  "9223372036854775808",
  "18446744073709551615",
  "18446744073709551616",
  "1e3",
  "1.5",
  "1E400",
  "-1e-400",
  "0.1e1",
  "123456789012345678901234567890",
];

const TOKENS = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "null",
  "true",
  "false",
  "-",
  "1e",
  '"a":',
  "\\u0000",
  "\\ud800",
  "\u0000",
  "/*",
  "'",
  "\ufeff",
];

/** Makes input `index` of the run with this seed. */
export function makeInput(seed: number, index: number, places: Places): FuzzInput {
  const random = new Random((Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0);
  const plugin = random.pick([
    "bridge",
    "bridge",
    "host-local",
    "host-local",
    "loopback",
    "portmap",
    "portmap",
    "ptp",
    "static",
    "bandwidth",
    "firewall",
    "tuning",
    "vxlan-overlay",
  ]);
  const mutations: string[] = [];
  const peers = plugin === "vxlan-overlay" ? peersFile(random, mutations) : null;
  const config = configuration(random, plugin, random.pick(VERSIONS), places);
  const env: Record<string, string> = {
    CNI_COMMAND: random.pick(COMMANDS),
    /* An attachment belongs to one plugin: a failed ADD of the bridge gives back what is leased to that attachment. */
    CNI_CONTAINERID: `${plugin.slice(0, 1)}${random.below(4)}`,
    CNI_NETNS: places.netns,
    CNI_IFNAME: plugin === "loopback" ? "lo" : random.pick(["eth0", "net1"]),
    CNI_PATH: places.bin,
  };
  if (random.chance(0.2)) env.CNI_ARGS = "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.3;MAC=02:00:00:00:00:09";
  if (plugin === "bridge" && random.chance(0.2)) {
    config.ipam = { type: "echo" };
    env.CNI_PATH = `${places.bin}:${places.delegates}`;
    Object.assign(env, delegateAnswer(random, String(config.cniVersion), mutations));
    if (random.chance(0.7)) return { plugin, env, stdin: Buffer.from(write(config, random)), peers, mutations };
  }
  let value: Value = config;
  const kind = random.below(10);
  if (kind < 7) {
    for (let n = 1 + random.below(3); n > 0; n -= 1) value = mutateTree(value, random, mutations);
  }
  let bytes: Buffer = Buffer.from(write(value, random));
  if (kind >= 6 && kind < 9) {
    for (let n = 1 + random.below(4); n > 0; n -= 1) bytes = mutateBytes(bytes, random, mutations);
  }
  if (kind >= 8 || random.chance(0.05)) mutateEnvironment(env, random, mutations);
  return { plugin, env, stdin: bytes, peers, mutations };
}

/** A list of peers, spoilt half of the times: a record as JSON, or any bytes. */
function peersFile(random: Random, log: string[]): Buffer {
  const lines: Value[] = [{ generation: 1, complete: true, peers: 3 }, ...peers(random)];
  const spoilt = random.chance(0.5);
  if (spoilt && random.chance(0.6)) {
    const line = random.below(lines.length);
    lines[line] = mutateTree(lines[line] ?? null, random, log);
  }
  let bytes: Buffer = Buffer.from(lines.map((line) => `${write(line, random)}\n`).join(""));
  if (spoilt && random.chance(0.5)) bytes = mutateBytes(bytes, random, log);
  return bytes;
}

/** What a delegate prints and how it ends, spoilt. */
function delegateAnswer(random: Random, version: string, log: string[]): Record<string, string> {
  const failed = random.chance(0.3);
  let value: Value = failed ? { cniVersion: version, code: 100, msg: "no", details: "because" } : previous(version);
  for (let n = random.below(3); n > 0; n -= 1) value = mutateTree(value, random, log);
  let bytes: Buffer = Buffer.from(write(value, random));
  if (random.chance(0.2)) bytes = mutateBytes(bytes, random, log);
  /* A variable of the environment holds no NUL and at most 128 kB. */
  const text = bytes.toString().replaceAll("\u0000", "").slice(0, 40_000);
  return { FUZZ_OUTPUT: text, FUZZ_STATUS: failed ? "1" : random.pick(["0", "0", "0", "3"]) };
}

/** JSON, with a member written twice or its name in another case now and then. */
function write(value: Value, random: Random): string {
  if (typeof value === "string" && value.startsWith("\u0001number:")) return value.slice(8);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, random)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([key, item]) => {
    const name = random.chance(0.01) ? key.toUpperCase() : key;
    return `${JSON.stringify(name)}:${write(item, random)}`;
  });
  if (members.length > 0 && random.chance(0.02)) members.push(random.pick(members));
  return `{${members.join(random.chance(0.1) ? " , " : ",")}}`;
}

interface Place {
  readonly holder: Value[] | { [key: string]: Value };
  readonly key: string;
}

function placesIn(value: Value, found: Place[] = []): Place[] {
  if (typeof value !== "object" || value === null) return found;
  for (const [key, item] of Object.entries(value)) {
    found.push({ holder: value, key });
    placesIn(item, found);
  }
  return found;
}

const read = (place: Place): Value => (place.holder as Record<string, Value>)[place.key] ?? null;
function put(place: Place, value: Value): void {
  (place.holder as Record<string, Value>)[place.key] = value;
}

function mutateTree(root: Value, random: Random, log: string[]): Value {
  const places = placesIn(root);
  if (places.length === 0) return nasty(random);
  const place = random.pick(places);
  const other = random.pick(places);
  const kind = random.below(9);
  log.push(`tree ${kind} at ${place.key}`);
  if (kind === 0) {
    if (Array.isArray(place.holder)) place.holder.splice(Number(place.key), 1);
    else delete place.holder[place.key];
  } else if (kind === 1) put(place, nasty(random));
  else if (kind === 2) put(place, structuredClone(read(other)));
  else if (kind === 3) {
    const mine = structuredClone(read(place));
    put(place, structuredClone(read(other)));
    put(other, mine);
  } else if (kind === 4 && Array.isArray(place.holder)) place.holder.push(structuredClone(read(place)));
  else if (kind === 5 && !Array.isArray(place.holder))
    place.holder[random.pick(NASTY_STRINGS).slice(0, 100)] = structuredClone(read(place));
  else if (kind === 6) put(place, `\u0001number:${random.pick(NASTY_NUMBERS)}`);
  else if (kind === 7) {
    let nested: Value = read(place);
    for (let depth = random.pick([1, 2, 60, 70, 300]); depth > 0; depth -= 1)
      nested = random.chance(0.5) ? [nested] : { x: nested };
    put(place, nested);
  } else put(place, random.pick(NASTY_STRINGS));
  return random.chance(0.005) ? nasty(random) : root;
}

function nasty(random: Random): Value {
  const kind = random.below(6);
  if (kind === 0) return null;
  if (kind === 1) return random.chance(0.5);
  if (kind === 2) return `\u0001number:${random.pick(NASTY_NUMBERS)}`;
  if (kind === 3) return [];
  return kind === 4 ? {} : random.pick(NASTY_STRINGS);
}

function mutateBytes(bytes: Buffer, random: Random, log: string[]): Buffer {
  const at = random.below(bytes.length + 1);
  const kind = random.below(7);
  log.push(`bytes ${kind} at ${at}`);
  const span = 1 + random.below(random.pick([2, 10, 100]));
  if (kind === 0 && at < bytes.length) {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
    return copy;
  }
  if (kind === 1 && at < bytes.length) {
    const copy = Buffer.from(bytes);
    copy[at] = random.below(256);
    return copy;
  }
  if (kind === 2) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + span)]);
  if (kind === 3) return Buffer.concat([bytes.subarray(0, at + span), bytes.subarray(at)]);
  if (kind === 4) return bytes.subarray(0, at);
  if (kind === 5) return Buffer.concat([bytes.subarray(0, at), Buffer.from(random.pick(TOKENS)), bytes.subarray(at)]);
  return swapTokens(bytes, random);
}

function swapTokens(bytes: Buffer, random: Random): Buffer {
  const tokens = bytes.toString("latin1").split(/([{}[\]:,])/);
  const a = random.below(tokens.length);
  const b = random.below(tokens.length);
  [tokens[a], tokens[b]] = [tokens[b] ?? "", tokens[a] ?? ""];
  return Buffer.from(tokens.join(""), "latin1");
}

function mutateEnvironment(env: Record<string, string>, random: Random, log: string[]): void {
  for (let n = 1 + random.below(2); n > 0; n -= 1) {
    const name = random.pick([
      "CNI_COMMAND",
      "CNI_CONTAINERID",
      "CNI_NETNS",
      "CNI_IFNAME",
      "CNI_PATH",
      "CNI_ARGS",
      "CNI_NETNS_OVERRIDE",
    ]);
    const kind = random.below(4);
    log.push(`${name} ${kind}`);
    if (kind === 0) delete env[name];
    else if (kind === 1) env[name] = random.pick(NASTY_STRINGS).replaceAll("\u0000", "");
    else if (kind === 2) {
      const text = env[name] ?? "";
      const at = random.below(text.length + 1);
      env[name] =
        text.slice(0, at) +
        random.pick(["/", ":", ";", "=", " ", "\n", "é", "..", "x".repeat(200)]) +
        text.slice(at + random.below(3));
    } else if (name === "CNI_COMMAND") env[name] = random.pick(COMMANDS);
    else if (name === "CNI_NETNS")
      env[name] = random.pick(["/proc/self/ns/net", "/proc/self/ns/mnt", "/dev/null", "/", "/proc/self/mem", "/run"]);
    else if (name === "CNI_ARGS")
      env[name] = random.pick([
        "IP=10.1.2.3",
        "MAC=02:00:00:00:00:01",
        "A=b",
        "IgnoreUnknown=1;IP=x",
        ";",
        "=",
        "IP=1;IP=2",
      ]);
    else if (name === "CNI_PATH")
      env[name] = random.pick([`:${env[name]}`, `${env[name]}:`, "/nowhere", "relative/path", ":"]);
    else env[name] = random.pick(["1", "true", "-", "_x", "é"]);
  }
}

/**
 * The file by which reconciliations of one network namespace take turns. It also holds the configuration that each overlay
 * was last made from, a line each, for `vxlan-overlay repair`, with the generation of the newest list that was read, and the
 * file that it was read from: "overlay1 pods 10.244.1.0/24 7:/etc/cni/overlay/peers.ndjson {...}". It lies on tmpfs, like what
 * it speaks of.
 */
import { MAX_CONFIG_BYTES } from "../cni/config.ts";
import { CniError, IO_FAILURE } from "../errors.ts";
import { readWhole } from "../host/io.ts";
import { LOCK_DEADLINE_MS, lockExclusive } from "../host/lock.ts";
import { identify } from "../host/namespace.ts";
import { isSole, openRun, RUN_DIRECTORY } from "../host/state-directory.ts";
import { formatPrefixes } from "../ip/address.ts";
import * as sys from "../sys/sys.ts";
import { deviceName, type OverlaySettings } from "./settings.ts";

/** Many overlays, each with the longest configuration that there may be. */
const MAX_BYTES = 64 * MAX_CONFIG_BYTES;

/** What stands in a line before the configuration, which is a JSON object: the device, the network, its pods, the list. */
interface Line {
  readonly device: string;
  readonly network: string;
  readonly pods: string;
  /** "7:/etc/cni/overlay/peers.ndjson"; "" in what was written before generations were. */
  readonly list: string;
  readonly json: string;
}

function parseLine(text: string): Line {
  const [device = "", network = "", pods = "", list = ""] = text.split(" ", 4);
  const hasList = !list.startsWith("{");
  const json = text.split(" ").slice(hasList ? 4 : 3);
  return { device, network, pods, list: hasList ? list : "", json: json.join(" ") };
}

/** The name of this namespace's file in RUN_DIRECTORY. */
function stateFile(): string {
  return `overlay-${identify("/proc/self/ns/net").inode}`;
}

/** Opens the file and locks it, until it is closed. @throws SystemError; CniError 11 if others hold it for too long */
export function lockState(): number {
  const name = stateFile();
  const path = `${RUN_DIRECTORY}/${name}`;
  const flags = sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  const root = openRun(true);
  const fd = sys.openat(root, name, flags, 0o600);
  sys.close(root);
  sys.must(fd, `open ${path}`);
  try {
    if (!isSole(fd)) throw notOurs(path);
    lockExclusive(fd, path, LOCK_DEADLINE_MS);
  } catch (error) {
    sys.close(fd);
    throw error;
  }
  return fd;
}

function notOurs(path: string): CniError {
  return new CniError(
    IO_FAILURE,
    `${path} is no regular file, or has a second name (a hard link)`,
    "what is written to it would be written to something else, too: look who made it, and remove it",
  );
}

/**
 * The generation of the newest list that an overlay was made from, if it was read from the same file; else 0.
 * @param noted what the locked file holds
 */
export function generationOf(noted: readonly string[], settings: OverlaySettings): number {
  const device = deviceName(settings);
  for (const text of noted) {
    const line = parseLine(text);
    if (line.device !== device || line.network !== settings.network) continue;
    const colon = line.list.indexOf(":");
    const generation = parseInt(line.list.slice(0, colon), 10);
    if (line.list === listText(settings, generation)) return generation;
  }
  return 0;
}

function listText(settings: OverlaySettings, generation: number): string {
  const { file } = settings.source;
  return file.includes(" ") ? "0:" : `${generation}:${file}`;
}

/**
 * Notes what an overlay is made from, in place of what was noted of its device, or of its network's pods under another VNI.
 * @param fd the locked file. A full disk is no reason to fail
 * @param before what it holds
 * @param generation of the list, 0 for a source that does not count
 */
export function remember(fd: number, before: readonly string[], settings: OverlaySettings, generation: number): void {
  const device = deviceName(settings);
  const cidrs = formatPrefixes(settings.podCidrs);
  const own = `${device} ${settings.network} ${cidrs.join(",")} ${listText(settings, generation)} ${settings.record}`;
  if (before.includes(own)) return;
  const others = before.filter((text) => {
    const line = parseLine(text);
    const isOfPods = line.pods.split(",").some((cidr) => cidrs.includes(cidr));
    return line.device !== device && !(line.network === settings.network && isOfPods);
  });
  const bytes = new TextEncoder().encode([...others, own].map((line) => `${line}\n`).join(""));
  /* A line that is cut off here by a crash is none, and the next call writes it again. */
  if (sys.pwrite(fd, bytes, 0) === bytes.length) sys.ftruncate(fd, bytes.length);
}

/** The configurations that the overlays of this namespace were last made from, as JSON. */
export function remembered(): string[] {
  const root = openRun(false);
  const fd = root < 0 ? root : sys.openat(root, stateFile(), sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
  sys.close(root);
  if (fd < 0) return [];
  try {
    return linesIn(fd).map((text) => parseLine(text).json);
  } finally {
    sys.close(fd);
  }
}

/** What the file holds, a line for each overlay. @param fd the file, just opened */
export function linesIn(fd: number): string[] {
  const text = new TextDecoder().decode(readWhole(fd, MAX_BYTES, "the overlays' state"));
  return text.split("\n").filter((line) => line.endsWith("}"));
}

/**
 * The state file of a network namespace, on tmpfs. It is locked while an overlay is changed. It has a line for each overlay: the
 * configuration that it was last made from, for `vxlan-overlay repair`, the generation of the newest list that was used, and the
 * file of that list: "overlay1 pods 10.244.1.0/24 7:/etc/cni/overlay/peers.ndjson {...}".
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

/** 64 overlays, each with the longest configuration. */
const MAX_BYTES = 64 * MAX_CONFIG_BYTES;

/** The words of a line; the last one is the configuration, a JSON object. */
interface Line {
  readonly device: string;
  readonly network: string;
  readonly pods: string;
  /** "7:/etc/cni/overlay/peers.ndjson"; "" in lines of older versions. */
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

/** Opens and locks the file; closing it unlocks it. @throws SystemError; CniError 11 if others lock it for too long */
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
 * The generation of the newest list that was used for an overlay, if it was read from the same file; else 0.
 * @param lines of the locked file
 */
export function generationOf(lines: readonly string[], settings: OverlaySettings): number {
  const device = deviceName(settings);
  for (const text of lines) {
    const line = parseLine(text);
    if (line.device !== device || line.network !== settings.network) continue;
    const colon = line.list.indexOf(":");
    const generation = parseInt(line.list.slice(0, colon), 10);
    if (line.list === listText(settings, generation)) return generation;
  }
  return 0;
}

function listText(settings: OverlaySettings, generation: number): string {
  const { source } = settings;
  return source.hasGenerations() && !source.name().includes(" ") ? `${generation}:${source.name()}` : "0:";
}

/**
 * Writes the line of an overlay, in place of those of its device, and of its network's pods under another VNI. The call goes on if
 * the disk is full.
 * @param fd the locked file
 * @param before its lines
 * @param generation of the list, 0 for a source without generations
 */
export function writeLine(fd: number, before: readonly string[], settings: OverlaySettings, generation: number): void {
  const device = deviceName(settings);
  const cidrs = formatPrefixes(settings.podCidrs);
  const own = `${device} ${settings.network} ${cidrs.join(",")} ${listText(settings, generation)} ${settings.record}`;
  if (before.includes(own)) return;
  const others = before.filter((text) => {
    const line = parseLine(text);
    const isOfPods = line.pods.split(",").some((cidr) => cidrs.includes(cidr));
    return line.device !== device && !(line.network === settings.network && isOfPods);
  });
  writeLines(fd, [...others, own]);
}

/** Removes the line of an overlay. @param fd the locked file @param before its lines */
export function removeLine(fd: number, before: readonly string[], settings: OverlaySettings): void {
  const device = deviceName(settings);
  const others = before.filter((text) => parseLine(text).device !== device);
  if (others.length < before.length) writeLines(fd, others);
}

function writeLines(fd: number, lines: readonly string[]): void {
  const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
  /* After a crash the last line may be incomplete: it is skipped, and the next call writes it again. */
  if (sys.pwrite(fd, bytes, 0) === bytes.length) sys.ftruncate(fd, bytes.length);
}

/** The configurations that the overlays of this network namespace were last made from, as JSON. */
export function recordedConfigurations(): string[] {
  return recordedLines().map((text) => parseLine(text).json);
}

/** The lines of the file as it is now, without its lock. */
export function recordedLines(): string[] {
  const root = openRun(false);
  const fd = root < 0 ? root : sys.openat(root, stateFile(), sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK, 0);
  sys.close(root);
  if (fd < 0) return [];
  try {
    return linesIn(fd);
  } finally {
    sys.close(fd);
  }
}

/** The file's lines, one for each overlay. @param fd the file, just opened */
export function linesIn(fd: number): string[] {
  const text = new TextDecoder().decode(readWhole(fd, MAX_BYTES, "the overlays' state"));
  return text.split("\n").filter((line) => line.endsWith("}"));
}

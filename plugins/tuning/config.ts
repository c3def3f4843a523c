/** The tuning plugin's part of a network configuration: every option, checked, with the runtime's and the arguments in place. */

import { readMtu } from "../../lib/attachment/mtu.ts";
import { tunedMac } from "../../lib/attachment/requested-mac.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import type { Json } from "../../lib/cni/json.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import { netSysctlParts } from "../../lib/host/sysctl.ts";
import { formatMac } from "../../lib/ip/mac.ts";
import { itemAt } from "../../lib/lists.ts";
import type { LinkSettings } from "../../lib/state/former.ts";
import { clip } from "../../lib/text.ts";

/** A kernel setting that is asked for. */
export interface TunedSysctl {
  /** As it is written: "net.ipv4.conf.IFNAME.arp_announce". */
  readonly key: string;
  /** ["net", "ipv4", "conf", "eth0", "arp_announce"]. */
  readonly path: readonly string[];
  readonly value: string;
}

/** Everything the configuration says, ready for use. */
export interface TuningConfig {
  /** In the order of the configuration, those of the arguments behind them. */
  readonly sysctls: readonly TunedSysctl[];
  readonly link: LinkSettings;
  /** Where records are kept. */
  readonly dataDir: string;
}

const DEFAULT_DATA_DIR = "/run/cni/tuning";
/** More than the kernel prints of any setting that can be set. */
const MAX_VALUE_LENGTH = 4096;
/** As many as the kernel has for networks, about. */
const MAX_SYSCTLS = 1000;
const MAX_QUEUE = 0x7fffffff;
const PLACEHOLDER = "IFNAME";

/**
 * Reads the configuration of a call. What `args.cni` has, even a 0, goes before all else.
 * @throws CniError 7 with the field's path, 4 for CNI_ARGS
 */
export function readTuningConfig(call: Call): TuningConfig {
  const { config, request } = call;
  const own = config.fields;
  const args = config.cniArgs();
  const from = (key: string): Fields => (args.has(key) ? args : own);
  const mac = tunedMac(config, request.args);
  const allmulti = from("allmulti");
  return {
    sysctls: readSysctls(own, args, request.ifname),
    link: {
      mac: mac === null ? "" : formatMac(mac),
      /* False is no wish: others may want the link to be promiscuous. */
      promiscuous: from("promisc").boolean("promisc", false) ? true : null,
      mtu: readMtu(from("mtu")),
      allMulticast: allmulti.has("allmulti") ? allmulti.boolean("allmulti", false) : null,
      transmitQueue: from("txQLen").integer("txQLen", 0, MAX_QUEUE),
    },
    dataDir: readDataDir(own),
  };
}

/** The directory of the records. DEL and GC need no more, so no error in the configuration stops them. */
export function dataDirOf(call: Call): string {
  const value = call.config.fields.find("dataDir");
  return value !== null && value.kind === "string" && isDirectoryPath(value.text) ? value.text : DEFAULT_DATA_DIR;
}

function readDataDir(fields: Fields): string {
  const path = fields.string("dataDir", "");
  if (path === "") return DEFAULT_DATA_DIR;
  if (!isDirectoryPath(path)) {
    throw fields.invalid("dataDir", `expected the absolute path of a directory, found "${clip(path)}"`);
  }
  return path;
}

/** A relative path would depend on the working directory of the runtime. */
function isDirectoryPath(path: string): boolean {
  return path.startsWith("/") && !path.endsWith("/") && !path.includes("\u0000");
}

/** The configuration's settings, with the values of `args.cni` where it has them, and its further ones. */
function readSysctls(own: Fields, args: Fields, ifname: string): TunedSysctl[] {
  const given = sysctlsIn(args, ifname);
  const sysctls: TunedSysctl[] = [];
  for (const one of sysctlsIn(own, ifname)) {
    sysctls.push(given.find((other) => other.path.join("/") === one.path.join("/")) ?? one);
  }
  for (const one of given) if (!sysctls.includes(one)) sysctls.push(one);
  return sysctls;
}

function sysctlsIn(fields: Fields, ifname: string): TunedSysctl[] {
  const map = fields.object("sysctl");
  const sysctls: TunedSysctl[] = [];
  if (map === null) return sysctls;
  if (map.json.keys.length > MAX_SYSCTLS) {
    throw fields.invalid("sysctl", `${map.json.keys.length} settings, at most ${MAX_SYSCTLS} are taken`);
  }
  const known = new Set<string>();
  let at = 0;
  for (const key of map.json.keys) {
    const item = itemAt(map.json.items, at);
    at += 1;
    if (item === null) continue;
    const sysctl = { key, path: pathOf(key, ifname), value: settingValue(map, key, item) };
    const path = sysctl.path.join("/");
    if (known.has(path)) throw map.invalid(key, "duplicated sysctl keys are not allowed");
    known.add(path);
    sysctls.push(sysctl);
  }
  return sysctls;
}

/** Dots separate as slashes do; the interface's name is put in afterwards, since it may have dots. */
function pathOf(key: string, ifname: string): string[] {
  const path = key.split(".").join("/");
  const at = path.indexOf(PLACEHOLDER);
  /* STATUS has no interface. */
  const whole = at < 0 || ifname === "" ? path : path.slice(0, at) + ifname + path.slice(at + PLACEHOLDER.length);
  const parts = netSysctlParts(whole);
  if (parts !== null) return parts;
  throw new CniError(
    INVALID_CONFIG,
    `invalid net sysctl key: "${clip(whole)}"`,
    "expected a key below net, such as net.core.somaxconn or net.ipv4.conf.IFNAME.arp_announce: other settings are the whole node's",
  );
}

function settingValue(map: Fields, key: string, item: Json): string {
  const { kind, text } = item;
  if (kind !== "string") {
    const shown = kind === "number" ? `the number ${clip(text)}` : kind;
    throw map.invalid(key, `expected a string, such as "1", found ${shown}`);
  }
  if (text.length > MAX_VALUE_LENGTH) throw map.invalid(key, `longer than ${MAX_VALUE_LENGTH} characters`);
  if (text.includes("\n") || text.includes("\u0000")) throw map.invalid(key, "a value is one line");
  return text;
}

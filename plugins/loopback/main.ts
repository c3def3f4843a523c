/** The loopback plugin: `lo` of a container is up, with the addresses the kernel gives it. */
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { EMPTY_DNS, type Result, type ResultIp, resultInterface } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CHECK_FAILED, CniError, CONFLICT } from "../../lib/errors.ts";
import { contains, type Family, formatPrefix, type Prefix, parsePrefix } from "../../lib/ip/address.ts";
import { listAddresses } from "../../lib/netlink/address.ts";
import { writeLinkUp } from "../../lib/netlink/link.ts";
import { commandIn } from "../../lib/state/commands.ts";
import { attempting, Kernel } from "../../lib/state/kernel.ts";

/** Whatever CNI_IFNAME says: a namespace has one loopback interface, and this is its name. */
const LOOPBACK = "lo";

export const loopback: Plugin = {
  name: "loopback",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc: () => {},
  status: () => {},
  explain,
  repair: null,
};

function add(call: Call): Result {
  const previous = call.config.prevResult();
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    const index = setUp(kernel, true);
    const ips = addresses(kernel, index);
    if (previous !== null) return previous;
    const { mtu } = kernel.link("container", LOOPBACK);
    const link = resultInterface(LOOPBACK, "00:00:00:00:00:00", mtu, call.request.netns);
    return { interfaces: [link], ips, routes: [], dns: EMPTY_DNS };
  } finally {
    kernel.close();
  }
}

function check(call: Call): void {
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    if (kernel.link("container", LOOPBACK).up) return;
    throw new CniError(CHECK_FAILED, "loopback interface is down", "bring it up with: ip link set lo up");
  } finally {
    kernel.close();
  }
}

function del(call: Call): void {
  const kernel = Kernel.forContainerIfAny(call.request.netns);
  try {
    if (kernel.namespace !== null) setUp(kernel, false);
  } finally {
    kernel.close();
  }
}

function explain(call: Call): string[] {
  const { command, netns } = call.request;
  if (command === "GC") return ["# nothing: an interface lo goes with its namespace"];
  return [commandIn("container", netns, `ip link set ${LOOPBACK} ${command === "ADD" ? "up" : "down"}`)];
}

/** Brings `lo` up or down and returns its index. */
function setUp(kernel: Kernel, up: boolean): number {
  const index = kernel.index("container", LOOPBACK);
  writeLinkUp(kernel.container, index, up, false);
  attempting(`cannot bring ${LOOPBACK} ${up ? "up" : "down"}`, () => kernel.container.run());
  return index;
}

/** The first address of each family. @throws CniError 102 if one is no loopback address */
function addresses(kernel: Kernel, index: number): ResultIp[] {
  const ips: ResultIp[] = [];
  const present = listAddresses(kernel.container, index).map((entry) => entry.prefix);
  for (const family of [4, 6] as Family[]) {
    const prefix = present.find((candidate) => candidate.address.family === family);
    if (prefix === undefined) continue;
    if (!isLoopback(prefix)) {
      throw new CniError(
        CONFLICT,
        `loopback interface found with non-loopback address "${formatPrefix(prefix)}"`,
        "something else gave the container's lo an address; remove it",
      );
    }
    ips.push({ interface: 0, address: prefix, gateway: null });
  }
  return ips;
}

function isLoopback(prefix: Prefix): boolean {
  const network = parsePrefix(prefix.address.family === 4 ? "127.0.0.0/8" : "::1/128");
  return network !== null && contains(network, prefix.address);
}

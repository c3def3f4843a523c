/** The node's VXLAN device: made, configured, and checked to be this network's. */
import { CniError, CONFLICT, KERNEL_REFUSED } from "../errors.ts";
import { anyListener } from "../host/listeners.ts";
import { ensureSysctl, hasIpv6, preferSysctl, readSysctl } from "../host/sysctl.ts";
import {
  type Address,
  bits,
  formatAddress,
  formatPrefix,
  holdsPrefix,
  type Prefix,
  sameAddress,
} from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import { listAddresses, writeDeleteAddress, writeNewAddress } from "../netlink/address.ts";
import { setFeature } from "../netlink/ethtool.ts";
import { writeNamedUp } from "../netlink/ifb.ts";
import { getLinkByName, writeDeleteLink } from "../netlink/link.ts";
import { lacksKind } from "../netlink/link-kind.ts";
import { NetlinkError, type NetlinkSocket } from "../netlink/socket.ts";
import { getVxlan, listVxlans, type Vxlan, writeLinkMtu, writeNewVxlan, writeVni } from "../netlink/vxlan.ts";
import { EADDRINUSE, EADDRNOTAVAIL, EEXIST, EINVAL, EOPNOTSUPP, errnoText } from "../sys/errno.ts";
import { MIN_MTU_IPV4, MIN_MTU_IPV6, overhead } from "./mtu.ts";
import { deviceName, type OverlaySettings } from "./settings.ts";
import { removeStaleDevices } from "./stale-devices.ts";
import { isOwnAlias } from "./underlay-state.ts";

/** What of the device is not in the settings. */
export interface DevicePlan {
  readonly local: Address;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly alias: string;
}

/**
 * Makes the device exist and be up, as planned. One that differs in what cannot be changed is deleted and created again; the
 * kernel then removes all entries that were on it.
 * `ip link add overlay1 address MAC mtu MTU type vxlan id 1 local ADDRESS dstport 8472 nolearning`
 * @throws CniError 102 if another device has the name, or its port or VNI; 100 if the kernel refuses
 */
export function ensureDevice(socket: NetlinkSocket, settings: OverlaySettings, plan: DevicePlan): Vxlan {
  requireRoom(settings, plan.mtu);
  requireIpv6(settings);
  const name = deviceName(settings);
  let device = ownDevice(socket, settings);
  if (device !== null && differenceInDevice(device, settings, plan) !== null) {
    writeDeleteLink(socket, device.link.index);
    socket.run();
    device = null;
  }
  if (device === null) {
    removeStaleDevices(socket, settings);
    device = makeDevice(socket, settings, plan);
  }
  if (device.link.mtu !== plan.mtu) {
    writeLinkMtu(socket, device.link.index, plan.mtu);
    socket.run();
  }
  ensureChecksums(device.link.index, settings);
  ensureSysctls(settings);
  if (device.link.up && device.link.alias === plan.alias) return device;
  preferSysctl(["net", "ipv6", "conf", name, "accept_ra"], "0", "router advertisements of peers are believed");
  /* Without it the kernel forwards by the route's MTU, and never reports to the pod what it has learned of the path. */
  if (settings.pathMtuDiscovery) ensureSysctl(["net", "ipv4", "ip_forward_use_pmtu"], "1");
  writeNamedUp(socket, device.link.index, plan.alias);
  const errno = socket.attempt();
  if (errno === EADDRINUSE) throw portTaken(socket, settings, device);
  if (errno !== 0) throw new NetlinkError(errno, `set ${name} up`, 0);
  return device;
}

/** The sysctls of the device and their values, for the pods' IP versions: a new device has those of `conf/default`. */
export function sysctlsFor(settings: OverlaySettings): (readonly [readonly string[], string])[] {
  const name = deviceName(settings);
  const wanted: (readonly [readonly string[], string])[] = [];
  const has = (family: number): boolean => settings.podCidrs.some((cidr) => cidr.address.family === family);
  if (has(4)) wanted.push([["net", "ipv4", "conf", name, "forwarding"], "1"]);
  if (has(6)) {
    wanted.push([["net", "ipv6", "conf", name, "disable_ipv6"], "0"]);
    wanted.push([["net", "ipv6", "conf", name, "forwarding"], "1"]);
  }
  return wanted;
}

/** Makes the device forward packets from other nodes, and have IPv6 if pods have it. @throws CniError 100 */
export function ensureSysctls(settings: OverlaySettings): void {
  for (const [setting, value] of sysctlsFor(settings)) ensureSysctl(setting, value);
}

/** Whether the device forwards, in the IP versions of the pods. */
export function hasSysctls(settings: OverlaySettings): boolean {
  for (const [setting, value] of sysctlsFor(settings)) {
    const found = readSysctl(setting);
    if (found !== null && found !== value) return false;
  }
  return true;
}

function requireRoom(settings: OverlaySettings, mtu: number): void {
  const hasIpv6 = settings.podCidrs.some((cidr) => cidr.address.family === 6);
  const least = hasIpv6 ? MIN_MTU_IPV6 : MIN_MTU_IPV4;
  if (mtu >= least) return;
  throw new CniError(
    KERNEL_REFUSED,
    `between the nodes there is room for packets of ${mtu} bytes, but IPv${hasIpv6 ? 6 : 4} needs ${least}`,
    `make the links between the nodes carry larger packets; the overlay takes ${overhead(settings.datapath, 4)} bytes over IPv4 and ${overhead(settings.datapath, 6)} over IPv6`,
  );
}

/** @throws CniError 100 if this node's pods are to have IPv6 and the kernel has none */
function requireIpv6(settings: OverlaySettings): void {
  const wanted = settings.podCidrs.find((cidr) => cidr.address.family === 6);
  if (wanted === undefined || hasIpv6()) return;
  throw new CniError(
    KERNEL_REFUSED,
    `this kernel has no IPv6, but "podCIDRs" has ${formatPrefix(wanted)}`,
    "/proc/sys/net/ipv6 is missing: start the node with IPv6 enabled, or remove the IPv6 networks from the configuration",
  );
}

/** Sets whether the device leaves checksums to the links below: `ethtool -K overlay1 tx-checksum-ip-generic on`. @throws CniError 100 */
function ensureChecksums(link: number, settings: OverlaySettings): void {
  const { checksumOffload } = settings;
  if (checksumOffload === null) return;
  const errno = setFeature(link, "tx-checksum-ip-generic", checksumOffload);
  if (errno === 0) return;
  throw new CniError(
    KERNEL_REFUSED,
    `cannot turn ${checksumOffload ? "on" : "off"} "txChecksumOffload" of ${deviceName(settings)}: ${errnoText(errno)}`,
    "it takes Linux 5.7; leave the option out, and see ethtool -K",
  );
}

/** The device; null if it does not exist. @throws CniError 102 if a link of another owner has its name */
export function ownDevice(socket: NetlinkSocket, settings: OverlaySettings): Vxlan | null {
  const name = deviceName(settings);
  const device = getVxlan(socket, name);
  if (device === null) {
    const other = getLinkByName(socket, name);
    if (other === null) return null;
    throw foreign(name, other.kind === "" ? "a device" : `a ${other.kind}`);
  }
  /* One without an alias is from a call that was killed before it set the alias. */
  if (device.link.alias === "" || isOwnAlias(settings, device.link.alias)) return device;
  throw foreign(name, `that of "${device.link.alias}"`);
}

function foreign(name: string, what: string): CniError {
  return new CniError(
    CONFLICT,
    `link ${name} is ${what}, not this network's VXLAN device`,
    `choose another "vni", or remove it with: ip link delete ${name}`,
  );
}

/** The first difference of the device that cannot be changed on an existing one, as text; null if there is none. */
export function differenceInDevice(device: Vxlan, settings: OverlaySettings, plan: DevicePlan): string | null {
  const gpe = settings.datapath === "gpe";
  if (device.external !== gpe || device.gpe !== gpe) return `is not of the datapath "${settings.datapath}"`;
  if (device.port !== settings.port) return `has port ${device.port}, not ${settings.port}`;
  if (device.inheritDf !== settings.pathMtuDiscovery) return 'differs in "pmtud"';
  if (device.lower !== 0) return "is bound to a link, and would be deleted with it";
  if (gpe) return null;
  if (device.vni !== settings.vni) return `has VNI ${device.vni}, not ${settings.vni}`;
  if (device.learning) return "learns addresses from whoever sends";
  if (device.link.mac !== formatMac(plan.mac)) return `has the Ethernet address ${device.link.mac}`;
  if (device.local === null || !sameAddress(device.local, plan.local)) {
    return `sends from ${device.local === null ? "any address" : formatAddress(device.local)}`;
  }
  return null;
}

function makeDevice(socket: NetlinkSocket, settings: OverlaySettings, plan: DevicePlan): Vxlan {
  const name = deviceName(settings);
  const gpe = settings.datapath === "gpe";
  let vniFilter = gpe;
  for (;;) {
    writeNewVxlan(socket, {
      name,
      mtu: plan.mtu,
      port: settings.port,
      inheritDf: settings.pathMtuDiscovery,
      tunnel: gpe ? null : { vni: settings.vni, mac: plan.mac, local: plan.local },
      vniFilter,
    });
    const errno = socket.attempt();
    if (errno === 0) break;
    if (errno === EEXIST) throw portTaken(socket, settings, null);
    /* Linux before 5.18 has no VNI filter: there the device receives packets of every VNI. */
    if (vniFilter && (errno === EINVAL || errno === EOPNOTSUPP)) vniFilter = false;
    else if (errno === EOPNOTSUPP) throw lacksKind("VXLAN devices", "CONFIG_VXLAN (module vxlan)");
    else throw new NetlinkError(errno, `make VXLAN device ${name} with MTU ${plan.mtu}`, 0);
  }
  const device = getVxlan(socket, name);
  if (device === null) throw new CniError(KERNEL_REFUSED, `VXLAN device ${name} went away as soon as it was made`);
  if (device.vniFilter) {
    writeVni(socket, device.link.index, settings.vni);
    socket.run();
  }
  return device;
}

/** The error that says who has the port or the VNI. @param own our device, which is not the one */
function portTaken(socket: NetlinkSocket, settings: OverlaySettings, own: Vxlan | null): CniError {
  const advice = `two overlays need two ports: choose another "port" than ${settings.port} on all nodes, or remove the other overlay`;
  for (const other of listVxlans(socket)) {
    if (other.port !== settings.port || other.link.index === own?.link.index) continue;
    const what = other.external ? "takes all packets of the port" : `has VNI ${other.vni}`;
    return new CniError(CONFLICT, `VXLAN device ${other.link.name} has UDP port ${other.port} and ${what}`, advice);
  }
  const taker = anyListener("udp", settings.port);
  return new CniError(CONFLICT, `UDP port ${settings.port} is taken${taker === null ? "" : ` by ${taker}`}`, advice);
}

/** Gives the device the first address of each of this node's networks: the source of the host's own packets to pods. */
export function ensureAddresses(socket: NetlinkSocket, device: Vxlan, podCidrs: readonly Prefix[]): void {
  const present: Prefix[] = [];
  for (const { prefix } of listAddresses(socket, device.link.index)) present.push(prefix);
  const wanted = deviceAddresses(podCidrs);
  for (const prefix of present) {
    const linkLocal = prefix.address.family === 6 && prefix.address.bytes[0] === 0xfe;
    if (linkLocal || holdsPrefix(wanted, prefix)) continue;
    writeDeleteAddress(socket, device.link.index, prefix);
    const errno = socket.attempt();
    if (errno !== 0 && errno !== EADDRNOTAVAIL) throw new NetlinkError(errno, `remove ${formatPrefix(prefix)}`, 0);
  }
  for (const prefix of wanted) {
    if (holdsPrefix(present, prefix)) continue;
    writeNewAddress(socket, device.link.index, prefix, true);
    const errno = socket.attempt();
    if (errno !== 0 && errno !== EEXIST) throw new NetlinkError(errno, `add ${formatPrefix(prefix)}`, 0);
  }
}

/** The device's addresses: the first of each of this node's networks. */
export function deviceAddresses(podCidrs: readonly Prefix[]): Prefix[] {
  const addresses: Prefix[] = [];
  for (const { address } of podCidrs) addresses.push({ address, length: bits(address.family) });
  return addresses;
}

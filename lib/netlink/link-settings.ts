/** The settings net.ipv4.conf.LINK.* by netlink: this needs no writable /proc/sys, and no file for each setting. */
import { type AttributeReader, readU32 } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import { AF_INET, IFLA_AF_SPEC } from "./rtnetlink.ts";

const IFLA_INET_CONF = 1;
/* linux/ip.h */
const IPV4_DEVCONF_FORWARDING = 1;
const IPV4_DEVCONF_ARP_IGNORE = 19;
export const IPV4_DEVCONF_ARP_NOTIFY = 22;
/** The value of arp_ignore for a link that answers no ARP requests. */
const ARP_IGNORE_ALL = 8;

/** One of the settings of IPv4: its number, and its value. */
export type Ipv4Setting = readonly [number, number];

/** With these a link forwards packets and answers ARP requests for its addresses. */
export const SERVE_IPV4: readonly Ipv4Setting[] = [
  [IPV4_DEVCONF_FORWARDING, 1],
  [IPV4_DEVCONF_ARP_IGNORE, 0],
];

/** Completes an RTM_SETLINK request, after its fixed part, with settings of IPv4. */
export function writeIpv4Settings(writer: MessageWriter, wanted: readonly Ipv4Setting[]): void {
  const families = writer.beginNested(IFLA_AF_SPEC);
  const ipv4 = writer.beginNested(AF_INET);
  const settings = writer.beginNested(IFLA_INET_CONF);
  for (const [number, value] of wanted) writer.attributeU32(number, value);
  writer.endNested(settings);
  writer.endNested(ipv4);
  writer.endNested(families);
  writer.end();
}

/**
 * Whether a link's settings, its IFLA_AF_SPEC, let it forward IPv4 packets and answer ARP requests. The kernel sends all
 * settings of IPv4 as one array.
 */
export function decodeServesIpv4(families: AttributeReader): boolean {
  while (families.next()) {
    if (families.type !== AF_INET) continue;
    const attributes = families.nested();
    while (attributes.next()) {
      if (attributes.type !== IFLA_INET_CONF) continue;
      const settings = attributes.bytes();
      if (settings.length < 4 * IPV4_DEVCONF_ARP_IGNORE) return true;
      return (
        settingOf(settings, IPV4_DEVCONF_FORWARDING) !== 0 &&
        settingOf(settings, IPV4_DEVCONF_ARP_IGNORE) !== ARP_IGNORE_ALL
      );
    }
  }
  return true;
}

function settingOf(settings: Uint8Array, number: number): number {
  return readU32(settings, 4 * (number - 1));
}

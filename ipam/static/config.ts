/** The `ipam` part of a network configuration: the addresses that the container gets, and who asks for them. Pure. */
import { readArgs } from "../../lib/cni/args.ts";
import type { NetworkConfig } from "../../lib/cni/config.ts";
import type { Fields } from "../../lib/cni/fields.ts";
import type { Dns, ResultIp, ResultRoute } from "../../lib/cni/result.ts";
import {
  addressField,
  checkFamilyCount,
  checkRouteFamilies,
  decodeDns,
  decodeRoutes,
} from "../../lib/cni/result-decode.ts";
import { CniError, INVALID_CONFIG, INVALID_ENVIRONMENT } from "../../lib/errors.ts";
import {
  type Address,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
  sameAddress,
} from "../../lib/ip/address.ts";
import { clip } from "../../lib/text.ts";

export interface StaticConfig {
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
  /** Gateways of CNI_ARGS whose network has no address. */
  readonly unusedGateways: readonly Address[];
}

/** The keys of CNI_ARGS. The interface plugin reads the same variable, where MAC is its key. */
const KEYS = ["IP", "GATEWAY", "MAC"];

/**
 * Reads the configuration. `ips` of runtimeConfig replaces that of `args.cni`, and that the addresses of `ipam` and of CNI_ARGS,
 * as in the reference suite; but an address keeps the gateway that `ipam` or CNI_ARGS names for its network.
 * @param args CNI_ARGS
 * @throws CniError 7 for an invalid field, 4 for invalid CNI_ARGS
 */
export function readStatic(config: NetworkConfig, args: string): StaticConfig {
  const ipam = config.ipam();
  const values = readArgs(args, KEYS);
  const requested = requestedAddresses(config);
  const replaced = requested !== null;
  const configured = configuredAddresses(ipam, replaced);
  const gateways = gatewaysOf(values.get("GATEWAY") ?? "");
  const found: ResultIp[] = requested === null ? [...configured] : [];
  const list = requested ?? listOf(values.get("IP") ?? "");
  for (const { text, place, error } of list) {
    const address = completed(text, configured);
    if (address === null) throw error;
    const problem = problemWith(address, null);
    if (problem !== "") throw new CniError(error.code, `invalid value for "${place}": ${problem}`);
    found.push({ interface: null, address, gateway: gatewayOf(configured, address) });
  }
  const ips = distinct(found.map((ip) => withGateway(ip, gateways)));
  for (const family of [4, 6] as Family[]) {
    const count = ips.filter((ip) => ip.address.address.family === family).length;
    checkFamilyCount(config.cniVersion, count, `IPv${family} addresses`, "one address");
  }
  const routes = decodeRoutes(ipam);
  checkRouteFamilies(routes);
  return {
    ips,
    routes,
    dns: decodeDns(ipam.object("dns")),
    unusedGateways: gateways.filter((gateway) => !ips.some((ip) => contains(ip.address, gateway))),
  };
}

/** An address that is asked for, and the error if the text is none. */
interface Request {
  readonly text: string;
  /** Where it is asked for. */
  readonly place: string;
  readonly error: CniError;
}

/** `ips` of the capability argument, else of `args.cni`; null if neither has any. */
function requestedAddresses(config: NetworkConfig): Request[] | null {
  let requests: Request[] | null = null;
  for (const fields of [config.cniArgs(), config.runtimeConfig()]) {
    const texts = fields.strings("ips");
    if (texts.length === 0) continue;
    const own: Request[] = [];
    for (const text of texts) {
      const message = `an entry in the 'ips' field is NOT in CIDR notation, got: '${clip(text)}'`;
      const place = `${fields.pathOf("ips")}[${own.length}]`;
      own.push({ text, place, error: new CniError(INVALID_CONFIG, message, `${place}: ${ADVICE}`) });
    }
    requests = own;
  }
  return requests;
}

const ADVICE = 'write it as in "10.1.0.5/24"; without a prefix length it is taken if "ipam.addresses" has its network';

/** The addresses of a list in CNI_ARGS. */
function listOf(list: string): Request[] {
  const requests: Request[] = [];
  for (const part of list === "" ? [] : list.split(",")) {
    const text = part.trim();
    const message = `the 'ip' field is expected to be in CIDR notation, got: '${clip(text)}'`;
    const place = "IP in CNI_ARGS";
    requests.push({ text, place, error: new CniError(INVALID_ENVIRONMENT, message, `${place}: ${ADVICE}`) });
  }
  return requests;
}

/** @param lenient whether they are replaced: then only what is right counts, for its network and gateway */
function configuredAddresses(ipam: Fields, lenient: boolean): ResultIp[] {
  const ips: ResultIp[] = [];
  for (const fields of ipam.objects("addresses")) {
    const gateway = addressField(fields, "gateway");
    const text = fields.string("address", "");
    const address = parsePrefix(text);
    const problem = address === null ? "" : problemWith(address, gateway);
    if (address !== null && problem === "") ips.push({ interface: null, address, gateway });
    else if (lenient) continue;
    else if (problem !== "") throw fields.invalid("address", problem);
    else {
      throw new CniError(
        INVALID_CONFIG,
        `the 'address' field is expected to be in CIDR notation, got: '${clip(text)}'`,
        `${fields.pathOf("address")}: write it as in "10.1.0.5/24"`,
      );
    }
  }
  return ips;
}

function gatewaysOf(list: string): Address[] {
  const gateways: Address[] = [];
  for (const part of list === "" ? [] : list.split(",")) {
    const gateway = parseAddress(part.trim());
    if (gateway === null) {
      throw new CniError(INVALID_ENVIRONMENT, `invalid gateway address: ${clip(part.trim())}`, "GATEWAY in CNI_ARGS");
    }
    gateways.push(gateway);
  }
  return gateways;
}

/** A requested address; one without a prefix length gets that of the configured address in whose network it is. */
function completed(text: string, configured: readonly ResultIp[]): Prefix | null {
  const prefix = parsePrefix(text);
  if (prefix !== null) return prefix;
  const address = parseAddress(text);
  if (address === null) return null;
  for (const ip of configured) {
    if (contains(ip.address, address)) return { address, length: ip.address.length };
  }
  return null;
}

/** The gateway that is configured for an address's network. */
function gatewayOf(configured: readonly ResultIp[], prefix: Prefix): Address | null {
  for (const { address, gateway } of configured) {
    if (gateway !== null && address.length === prefix.length && contains(address, prefix.address)) return gateway;
  }
  return null;
}

/** The last gateway of CNI_ARGS that is in an address's network is its gateway. */
function withGateway(ip: ResultIp, gateways: readonly Address[]): ResultIp {
  let { gateway } = ip;
  for (const candidate of gateways) if (contains(ip.address, candidate)) gateway = candidate;
  return { interface: null, address: ip.address, gateway };
}

/** One that two sources name is one address. @throws CniError 7 if they differ about its network */
function distinct(ips: readonly ResultIp[]): ResultIp[] {
  const all: ResultIp[] = [];
  for (const ip of ips) {
    const same = all.find((other) => sameAddress(other.address.address, ip.address.address));
    if (same === undefined) all.push(ip);
    else if (same.address.length !== ip.address.length) {
      throw new CniError(
        INVALID_CONFIG,
        `address ${formatAddress(ip.address.address)} is given twice: as ${formatPrefix(same.address)} and as ${formatPrefix(ip.address)}`,
        "an interface has an address in one network",
      );
    }
  }
  return all;
}

/** Why an interface cannot have an address; "" if it can. */
function problemWith(prefix: Prefix, gateway: Address | null): string {
  const { address } = prefix;
  const first = address.bytes[0] ?? 0;
  const isMulticast = address.family === 4 ? first >= 224 && first < 240 : first === 255;
  const text = formatAddress(address);
  if (isMulticast) return `${text} is a multicast address: no interface can have it`;
  if (text === "0.0.0.0" || text === "::") return `${text} is no interface's address`;
  if (gateway !== null && gateway.family !== address.family) {
    return `${formatPrefix(prefix)} has a gateway of the other IP version: ${formatAddress(gateway)}`;
  }
  return "";
}

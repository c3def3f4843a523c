/** The firewall plugin's part of a network configuration: every option, checked, defaults filled in. */
import type { Fields } from "../../lib/cni/fields.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { CniError, INVALID_CONFIG } from "../../lib/errors.ts";
import type { IngressPolicy } from "../../lib/filter/forwarding.ts";
import { isChainName } from "../../lib/filter/iptables-lines.ts";
import { warn } from "../../lib/host/io.ts";
import { clip } from "../../lib/text.ts";

/** Everything the configuration says, ready for use. */
export interface FirewallConfig {
  /** Who is to let packets through: "" for firewalld where it runs, else iptables. */
  readonly backend: "" | "iptables" | "firewalld";
  /** The chain of iptables for people's own rules. */
  readonly adminChain: string;
  /** "" for what it was: only "open" takes a policy back. */
  readonly policy: "" | IngressPolicy;
  /** The bit of the packet mark that iptables is to accept, 0 to 31. */
  readonly markBit: number;
}

const ADMIN_CHAIN = "CNI-ADMIN";
/* portmap and kube-proxy use 13 to 15, Cilium 8 to 11 and, with Calico, the upper half. */
const MARK_BIT = 12;
const TAKEN_BITS = [13, 14, 15];
/** The kernel's own chains of the table "filter", and ours. */
const OTHER_CHAINS = ["INPUT", "FORWARD", "OUTPUT", "CNI-FORWARD"];

/** Reads the configuration of a call. @throws CniError 7 with the field's path */
export function readFirewallConfig(call: Call): FirewallConfig {
  const { fields } = call.config;
  /* Only firewalld has zones; one that is no text is a mistake all the same. */
  fields.string("firewalldZone", "");
  return {
    backend: readBackend(fields),
    adminChain: readAdminChain(fields),
    policy: readPolicy(fields),
    markBit: readMarkBit(fields),
  };
}

/** The reference takes any text, and goes by what runs on the node. */
function readBackend(fields: Fields): FirewallConfig["backend"] {
  const text = fields.string("backend", "");
  if (text === "" || text === "iptables" || text === "firewalld") return text;
  warn(
    `firewall: the backend "${clip(text)}" is not known: it is as if none was named; known are iptables, firewalld\n`,
  );
  return "";
}

function readAdminChain(fields: Fields): string {
  const given = fields.string("iptablesAdminChainName", "");
  const name = given === "" ? ADMIN_CHAIN : given;
  if (!isChainName(name) || OTHER_CHAINS.includes(name)) {
    throw fields.invalid(
      "iptablesAdminChainName",
      `"${clip(name)}" cannot be the name of an iptables chain of its own`,
    );
  }
  return name;
}

function readPolicy(fields: Fields): FirewallConfig["policy"] {
  const text = fields.string("ingressPolicy", "");
  if (text === "" || text === "open" || text === "same-bridge" || text === "isolated") return text;
  throw new CniError(
    INVALID_CONFIG,
    `unknown ingress policy: "${clip(text)}"`,
    "ingressPolicy is open, same-bridge or isolated",
  );
}

function readMarkBit(fields: Fields): number {
  const bit = fields.integer("forwardMarkBit", 0, 31) ?? MARK_BIT;
  if (TAKEN_BITS.includes(bit)) {
    throw fields.invalid(
      "forwardMarkBit",
      `${bit} is used by ${bit === 13 ? "portmap" : "kube-proxy"}; 12 is the default`,
    );
  }
  return bit;
}

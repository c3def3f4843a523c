/**
 * The configuration of ip-masq-agent, read as it is: destinations to which pods keep their own addresses. Clusters that had that
 * agent have its ConfigMap; here it stands beside the settings' own `nonMasqueradeCIDRs`.
 */
import { Fields } from "../lib/cni/fields.ts";
import { jsonObject } from "../lib/cni/json.ts";
import { CniError, INVALID_CONFIG } from "../lib/errors.ts";
import type { Prefix } from "../lib/ip/address.ts";
import { parseYaml } from "../lib/kubernetes/yaml.ts";
import { YamlError } from "../lib/kubernetes/yaml-scalars.ts";
import { readNetwork } from "../lib/overlay/peers.ts";

/** What ip-masq-agent has where its file names no networks (RFC 1918). */
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const LINK_LOCAL = "169.254.0.0/16";
const LINK_LOCAL_IPV6 = "fe80::/10";
/** As many as ip-masq-agent takes. */
const MAX_NETWORKS = 64;

/**
 * The networks to which packets go with pods' addresses. @param text YAML or JSON; "" is a file with nothing in it
 * @param place the file's path, for messages
 * @throws CniError 7 that names the member
 */
export function readIpMasq(text: string, place: string): Prefix[] {
  const fields = fieldsOf(text, place);
  const given = fields === null || !fields.has("nonMasqueradeCIDRs") ? PRIVATE : fields.strings("nonMasqueradeCIDRs");
  if (given.length > MAX_NETWORKS) {
    throw new CniError(
      INVALID_CONFIG,
      `${place} has ${given.length} nonMasqueradeCIDRs, ip-masq-agent takes ${MAX_NETWORKS}`,
    );
  }
  const texts = [...given];
  if (fields === null || !fields.boolean("masqLinkLocal", false)) texts.push(LINK_LOCAL);
  if (fields === null || !fields.boolean("masqLinkLocalIPv6", false)) texts.push(LINK_LOCAL_IPV6);
  const prefixes: Prefix[] = [];
  for (const network of texts) {
    const key = `${place}: nonMasqueradeCIDRs[${prefixes.length}]`;
    prefixes.push(readNetwork(fields ?? NO_FIELDS, key, network));
  }
  return prefixes;
}

/** Null for a file with nothing in it. */
function fieldsOf(text: string, place: string): Fields | null {
  try {
    const json = parseYaml(text);
    if (json.kind === "object") return new Fields(json, "");
    if (json.kind === "null") return null;
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw new CniError(INVALID_CONFIG, `${place} cannot be read: ${error.message}`);
  }
  throw new CniError(INVALID_CONFIG, `${place} holds no settings of ip-masq-agent: expected nonMasqueradeCIDRs`);
}

const NO_FIELDS = new Fields(jsonObject(), "");

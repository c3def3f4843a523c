/**
 * The API server as a kubeconfig file describes it. Files that it names are relative to its own directory. What needs another
 * program or less security is refused, with what to use instead.
 */
import type { Json } from "../cni/json.ts";
import { clip, decodeUtf8 } from "../text.ts";
import { decodeBase64 } from "./base64.ts";
import { type Files, readFile, readPem, requirePem } from "./files.ts";
import { isBearerToken } from "./http-request.ts";
import { ApiServer, type Credentials, type Place, parseServerUrl, ServerError } from "./server.ts";
import { parseYaml } from "./yaml.ts";
import { YamlError } from "./yaml-scalars.ts";

export class Kubeconfig extends ApiServer {
  readonly #path: string;
  readonly #context: string;
  readonly #files: Files;

  /**
   * @param path of the file
   * @param context which of its contexts is meant; "" for the current one
   * @throws ServerError
   */
  constructor(path: string, context: string, files: Files) {
    super();
    this.#path = path;
    this.#context = context;
    this.#files = files;
    const cluster = this.#entries().cluster;
    const place = placeOf(cluster, path);
    this.host = place.host;
    this.port = place.port;
    this.basePath = place.basePath;
    this.name = nameOf(cluster, place);
  }

  credentials(): Credentials {
    const { cluster, user } = this.#entries();
    const place = placeOf(cluster, this.#path);
    if (place.host !== this.host || place.port !== this.port || place.basePath !== this.basePath) {
      throw new ServerError(`${this.#path} now names another server: the program must be started again`);
    }
    this.name = nameOf(cluster, place);
    this.warning = this.#keyWarning(user);
    const certificate = this.#pem(user, "client-certificate");
    const key = this.#pem(user, "client-key");
    if ((certificate === "") !== (key === "")) {
      throw new ServerError(`${this.#path}: client-certificate and client-key are needed both`);
    }
    return { ca: this.#pem(cluster, "certificate-authority"), token: this.#token(user), certificate, key };
  }

  /** Cluster and user of the context, checked for what cannot be used. */
  #entries(): { cluster: Json; user: Json } {
    const config = parseConfig(readFile(this.#files, this.#path, "the kubeconfig file"), this.#path);
    const name = this.#context === "" ? textOf(config, "current-context") : this.#context;
    if (name === "") throw new ServerError(`${this.#path} has no current-context: name one of its contexts`);
    const context = this.#entry(config, "context", name);
    const cluster = this.#entry(config, "cluster", textOf(context, "cluster"));
    const user = this.#entry(config, "user", textOf(context, "user"));
    this.#refuse(cluster, CLUSTER_REFUSALS);
    this.#refuse(user, USER_REFUSALS);
    return { cluster, user };
  }

  /** The entry of a list ("clusters") with a name. @param kind "cluster", "user", "context" */
  #entry(config: Json, kind: string, name: string): Json {
    const list = config.get(`${kind}s`);
    if (list !== null && list.kind === "array") {
      for (const item of list.items) {
        const entry = item.get(kind);
        if (textOf(item, "name") === name && entry !== null && entry.kind === "object") return entry;
      }
    }
    throw new ServerError(`${this.#path} has no ${kind} with the name "${clip(name)}"`);
  }

  #refuse(entry: Json, refusals: readonly Refusal[]): void {
    for (const { member, reason } of refusals) {
      const value = entry.get(member);
      if (value === null || value.kind === "null" || value.text === "" || value.text === "false") {
        if (value === null || value.items.length === 0) continue;
      }
      throw new ServerError(`${this.#path}: ${member} cannot be used: ${reason}`);
    }
  }

  #token(user: Json): string {
    const path = textOf(user, "tokenFile");
    const token = path === "" ? textOf(user, "token") : readFile(this.#files, this.#absolute(path), "the token").trim();
    if (token !== "" && !isBearerToken(token))
      throw new ServerError(`${this.#path}: the token has characters that none has`);
    return token;
  }

  /** The PEM text that a member has as data, or names as a file; "" for none. */
  #pem(entry: Json, member: string): string {
    const data = textOf(entry, `${member}-data`);
    const path = textOf(entry, member);
    if (data === "") return path === "" ? "" : readPem(this.#files, this.#absolute(path), `the ${member}`);
    const bytes = decodeBase64(data);
    if (bytes === null) throw new ServerError(`${this.#path}: ${member}-data is not base64`);
    return requirePem(decodeUtf8(bytes), `${this.#path}: ${member}-data`);
  }

  #keyWarning(user: Json): string {
    const inFile = textOf(user, "client-key");
    const isInside = textOf(user, "client-key-data") !== "" || textOf(user, "token") !== "";
    const warnings: string[] = [];
    if (isInside && this.#files.isPublic(this.#path)) warnings.push(publicWarning(this.#path));
    if (inFile !== "" && this.#files.isPublic(this.#absolute(inFile)))
      warnings.push(publicWarning(this.#absolute(inFile)));
    return warnings.join("; ");
  }

  #absolute(path: string): string {
    if (path.startsWith("/")) return path;
    const slash = this.#path.lastIndexOf("/");
    return slash < 0 ? path : `${this.#path.slice(0, slash)}/${path}`;
  }
}

/** A member that makes an entry unusable. */
interface Refusal {
  readonly member: string;
  readonly reason: string;
}

const CLUSTER_REFUSALS: readonly Refusal[] = [
  {
    member: "insecure-skip-tls-verify",
    reason:
      "anybody on the way could pose as the server; give its certificate as certificate-authority, or another name as tls-server-name",
  },
  { member: "proxy-url", reason: "there are no proxies; use an address that leads to the server directly" },
];

const PASSWORD = "the API server has taken no passwords since Kubernetes 1.19; use a token or a client certificate";
const PLUGIN =
  "it starts another program; use a token (kubectl create token), tokenFile, or a client certificate with its key";

const USER_REFUSALS: readonly Refusal[] = [
  { member: "exec", reason: PLUGIN },
  { member: "auth-provider", reason: PLUGIN },
  { member: "username", reason: PASSWORD },
  { member: "password", reason: PASSWORD },
  { member: "as", reason: "nobody is impersonated; use credentials of that user" },
];

function parseConfig(text: string, path: string): Json {
  try {
    const config = parseYaml(text);
    if (config.kind === "object") return config;
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw new ServerError(`${path}, ${error.message}`);
  }
  throw new ServerError(`${path} is no kubeconfig file`);
}

function placeOf(cluster: Json, path: string): Place {
  return parseServerUrl(textOf(cluster, "server"), `${path}, server`);
}

/** The name that the server's certificate must have. */
function nameOf(cluster: Json, place: Place): string {
  const name = textOf(cluster, "tls-server-name");
  return name === "" ? place.host : name;
}

/** The text of a scalar; "" if there is none. A token of digits is a text, too. */
function textOf(object: Json, key: string): string {
  const value = object.get(key);
  return value === null || value.kind === "null" ? "" : value.text;
}

function publicWarning(path: string): string {
  return `everybody on this machine may read ${path}: chmod go-r ${path}`;
}

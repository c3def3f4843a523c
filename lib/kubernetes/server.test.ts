/** Where the API server is and as whom: environments, service accounts, kubeconfig files, and what is refused. */
import { describe, expect, test } from "vitest";
import { decodeBase64 } from "./base64.ts";
import { Files } from "./files.ts";
import { InCluster, ownNamespace, SERVICE_ACCOUNT } from "./in-cluster.ts";
import { Kubeconfig } from "./kubeconfig.ts";
import { parseServerUrl, ServerError } from "./server.ts";

/** Files in memory. */
class Fake extends Files {
  readonly texts: Record<string, string>;
  readonly open: readonly string[];

  constructor(texts: Record<string, string>, open: readonly string[] = []) {
    super();
    this.texts = texts;
    this.open = open;
  }

  read(path: string): string | null {
    return this.texts[path] ?? null;
  }

  isPublic(path: string): boolean {
    return this.open.includes(path);
  }
}

function errorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof ServerError) return error.message;
    throw error;
  }
  return "no error";
}

const pem = (text: string): string => `-----BEGIN ${text}-----\nAAAA\n-----END ${text}-----\n`;
const CA = pem("CERTIFICATE");
const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("URLs", () => {
  test.each([
    ["https://10.96.0.1", { host: "10.96.0.1", port: 443, basePath: "" }],
    ["https://10.96.0.1:6443/", { host: "10.96.0.1", port: 6443, basePath: "" }],
    ["https://[2001:db8::1]:6443", { host: "2001:db8::1", port: 6443, basePath: "" }],
    ["https://[::1]", { host: "::1", port: 443, basePath: "" }],
    [
      "https://api.example.com:65535/k8s/clusters/c-1/",
      { host: "api.example.com", port: 65_535, basePath: "/k8s/clusters/c-1" },
    ],
  ])("%s", (url, expected) => {
    expect(parseServerUrl(url, "server")).toEqual(expected);
  });

  test.each([
    ["http://10.96.0.1", 'server: "http://10.96.0.1" does not begin with https://'],
    ["10.96.0.1:6443", 'server: "10.96.0.1:6443" does not begin with https://'],
    ["https://", 'server: "https://" names no host'],
    ["https://:443", 'server: "https://:443" names no host'],
    ["https://user:pw@host", 'server: "pw@host" is no port'],
    ["https://a b", 'server: "https://a b" names no host'],
    ["https://a\r\nX:1", 'server: "https://a\r\nX:1" names no host'],
    ["https://2001:db8::1", 'server: "db8::1" is no port'],
    ["https://[10.0.0.1]", 'server: "https://[10.0.0.1]" names no host'],
    ["https://[::1", 'server: "https://[::1" names no host'],
    ["https://[::1]x:1", 'server: "https://[::1]x:1" names no host'],
    ["https://[fe80::1%25eth0]", 'server: "https://[fe80::1%25eth0]" names no host'],
    ["https://a:0", 'server: "0" is no port'],
    ["https://a:65536", 'server: "65536" is no port'],
    ["https://a:", 'server: "" is no port'],
    ["https://a/b?c", 'server: the path of "https://a/b?c" cannot be used'],
    ["https://a/b c", 'server: the path of "https://a/b c" cannot be used'],
  ])("%s is refused", (url, problem) => {
    expect(errorOf(() => parseServerUrl(url, "server"))).toBe(problem);
  });
});

describe("in a pod", () => {
  const surroundings = { host: "10.96.0.1", port: "443", directory: SERVICE_ACCOUNT };
  const files = (token = "abc.def\n", ca = CA): Fake =>
    new Fake({
      [`${SERVICE_ACCOUNT}/token`]: token,
      [`${SERVICE_ACCOUNT}/ca.crt`]: ca,
      [`${SERVICE_ACCOUNT}/namespace`]: "podwire\n",
    });

  test("address, name, token and certificate", () => {
    const server = new InCluster(surroundings, files());
    expect(server).toMatchObject({ host: "10.96.0.1", port: 443, basePath: "", name: "10.96.0.1" });
    expect(server.credentials()).toEqual({ ca: CA, token: "abc.def", certificate: "", key: "" });
    expect(new InCluster({ ...surroundings, host: "fd00:10:96::1" }, files()).host).toBe("fd00:10:96::1");
    expect(ownNamespace(SERVICE_ACCOUNT, files())).toBe("podwire");
    expect(ownNamespace("/elsewhere", files())).toBe("");
  });

  test("files are read again each time", () => {
    const changing = files();
    const server = new InCluster(surroundings, changing);
    server.credentials();
    changing.texts[`${SERVICE_ACCOUNT}/token`] = "next";
    expect(server.credentials().token).toBe("next");
  });

  test("what is missing or wrong is named", () => {
    const error = (change: object, fake = files()): string =>
      errorOf(() => new InCluster({ ...surroundings, ...change }, fake).credentials());
    expect(error({ host: "" })).toBe(
      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; name a kubeconfig file",
    );
    expect(error({ host: "a b" })).toBe('KUBERNETES_SERVICE_HOST: "a b" is neither an address nor a name');
    expect(error({ port: "tcp://10.0.0.1:443" })).toBe('KUBERNETES_SERVICE_PORT: "tcp://10.0.0.1:443" is no port');
    expect(error({ directory: "/x" })).toBe("the service account's token /x/token is missing or may not be read");
    expect(error({}, files("a b"))).toBe(`${SERVICE_ACCOUNT}/token holds no token`);
    expect(error({}, files("a", "garbage"))).toBe(
      `the cluster's certificate ${SERVICE_ACCOUNT}/ca.crt is not in PEM form: no -----BEGIN and -----END in it`,
    );
  });
});

describe("a kubeconfig file", () => {
  const PATH = "/home/a/.kube/config";

  interface Parts {
    readonly cluster?: string;
    readonly user?: string;
    readonly rest?: string;
  }

  const config = ({ cluster = "", user = "", rest = "current-context: one" }: Parts): string => `apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
    server: https://10.0.0.1:6443
${cluster}
users:
- name: other
  user: {}
- name: u
  user:
    x: y
${user}
contexts:
- context:
    cluster: c
    user: u
  name: one
- {name: two}
${rest}
`;
  const open = (parts: Parts, more: Record<string, string> = {}, readable: string[] = []): Kubeconfig =>
    new Kubeconfig(PATH, "", new Fake({ ...more, [PATH]: config(parts) }, readable));

  test("token and certificate as data", () => {
    const server = open({ cluster: `    certificate-authority-data: ${base64(CA)}`, user: "    token: abc" });
    expect(server).toMatchObject({ host: "10.0.0.1", port: 6443, name: "10.0.0.1" });
    expect(server.credentials()).toEqual({ ca: CA, token: "abc", certificate: "", key: "" });
    expect(server.warning).toBe("");
  });

  test("client certificate and key, as data and as files beside it", () => {
    const certificate = pem("CERTIFICATE");
    const key = pem("EC PRIVATE KEY");
    const inside = `    client-certificate-data: ${base64(certificate)}\n    client-key-data: ${base64(key)}`;
    expect(open({ user: inside }).credentials()).toEqual({ ca: "", token: "", certificate, key });
    const files = { "/home/a/.kube/pki/c.crt": certificate, "/etc/c.key": key, "/home/a/.kube/ca.crt": CA };
    const outside = "    client-certificate: pki/c.crt\n    client-key: /etc/c.key";
    const server = open({ user: outside, cluster: "    certificate-authority: ca.crt" }, files);
    expect(server.credentials()).toEqual({ ca: CA, token: "", certificate, key });
  });

  test("a token in a file, which goes before one in the config; another name", () => {
    const server = open(
      { user: "    tokenFile: t\n    token: old", cluster: "    tls-server-name: kubernetes" },
      { "/home/a/.kube/t": " new\n" },
    );
    expect(server.name).toBe("kubernetes");
    expect(server.credentials().token).toBe("new");
  });

  test("a key that everybody may read is reported", () => {
    const key = { "/k": pem("PRIVATE KEY"), "/c": CA };
    const user = "    client-certificate: /c\n    client-key: /k";
    const server = open({ user }, key, ["/k", PATH]);
    server.credentials();
    expect(server.warning).toBe("everybody on this machine may read /k: chmod go-r /k");
    const inside = open({ user: "    token: a" }, {}, [PATH]);
    inside.credentials();
    expect(inside.warning).toBe(`everybody on this machine may read ${PATH}: chmod go-r ${PATH}`);
  });

  test("a named context", () => {
    const fake = new Fake({ [PATH]: config({ user: "    token: 12345", rest: "" }) });
    expect(new Kubeconfig(PATH, "one", fake).credentials().token).toBe("12345");
    expect(errorOf(() => new Kubeconfig(PATH, "", fake))).toBe(
      `${PATH} has no current-context: name one of its contexts`,
    );
    expect(errorOf(() => new Kubeconfig(PATH, "x", fake))).toBe(`${PATH} has no context with the name "x"`);
    expect(errorOf(() => new Kubeconfig(PATH, "two", fake))).toBe(`${PATH} has no context with the name "two"`);
  });

  test("a server that changes while the program runs", () => {
    const fake = new Fake({ [PATH]: config({}) });
    const server = new Kubeconfig(PATH, "", fake);
    fake.texts[PATH] = config({}).replace("10.0.0.1", "10.0.0.2");
    expect(errorOf(() => server.credentials())).toBe(
      `${PATH} now names another server: the program must be started again`,
    );
  });

  test.each([
    ["    insecure-skip-tls-verify: true", /: insecure-skip-tls-verify cannot be used: anybody on the way could pose/],
    ["    proxy-url: http://p", /: proxy-url cannot be used: there are no proxies/],
  ])("%s is refused", (cluster, problem) => {
    expect(errorOf(() => open({ cluster }))).toMatch(problem);
  });

  test.each([
    ["    exec:\n      command: aws\n", /: exec cannot be used: it starts another program; use a token/],
    ["    auth-provider:\n      name: gcp", /: auth-provider cannot be used: it starts another program/],
    ["    username: a", /: username cannot be used: the API server has taken no passwords since Kubernetes 1.19/],
    ["    password: a", /: password cannot be used/],
    ["    as: root", /: as cannot be used: nobody is impersonated/],
    ["    token: 'a b'", /: the token has characters that none has/],
    ["    tokenFile: absent", /the token \/home\/a\/.kube\/absent is missing or may not be read/],
    ["    client-key-data: '%'", /: client-key-data is not base64/],
    ["    client-key-data: AAAA", /: client-key-data is not in PEM form/],
    [`    client-key-data: ${base64(CA)}`, /: client-certificate and client-key are needed both/],
    ["    token: &a b", /^\/home\/a\/.kube\/config, line 14: anchors and aliases are not read/],
  ])("%s is refused", (user, problem) => {
    expect(errorOf(() => open({ user }).credentials())).toMatch(problem);
  });

  test("what is false or empty is not refused", () => {
    const server = open({
      cluster: "    insecure-skip-tls-verify: false\n    proxy-url: ''",
      user: "    exec: null\n    token: a",
    });
    expect(server.credentials().token).toBe("a");
  });

  test("no config at all", () => {
    expect(errorOf(() => new Kubeconfig("/x", "", new Fake({})))).toBe(
      "the kubeconfig file /x is missing or may not be read",
    );
    expect(errorOf(() => new Kubeconfig("/x", "", new Fake({ "/x": "- a" })))).toBe("/x is no kubeconfig file");
  });

  test("as JSON", () => {
    const json = JSON.stringify({
      clusters: [{ name: "c", cluster: { server: "https://[::1]:1" } }],
      users: [{ name: "u", user: { token: "t" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    });
    const server = new Kubeconfig("config", "", new Fake({ config: json }));
    expect([server.host, server.port, server.credentials().token]).toEqual(["::1", 1, "t"]);
  });
});

describe("base64", () => {
  test("what Node encodes is decoded, also in lines", () => {
    for (let length = 1; length < 200; length += 1) {
      const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 37 + length) & 255));
      const text = bytes.toString("base64");
      expect(Buffer.from(decodeBase64(text) ?? [])).toEqual(bytes);
      expect(Buffer.from(decodeBase64(`${text.slice(0, 40)}\r\n${text.slice(40)}\n`) ?? [])).toEqual(bytes);
    }
  });

  test.each(["", "A", "AA", "AAA", "AAAA=", "A===", "AA=A", "A%AA", "AAAé", "AA-_", "=AAA"])("%j is none", (text) => {
    expect(decodeBase64(text)).toBeNull();
  });
});

/** nginx in the foreground with one worker; everything it writes goes to `dir`. `http` is the inside of the http block. */
export function nginxConfig(dir: string, name: string, http: string): string {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `  ${kind}_temp_path ${dir}/${name}.${kind};`,
  );
  // Started by root, the worker would be nobody, who may not read the folder.
  const user = process.getuid?.() === 0 ? "user root;\n" : "";
  return `${user}worker_processes 1;
daemon off;
pid ${dir}/${name}.nginx.pid;
error_log stderr crit;
events { worker_connections 2048; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 100000000;
${folders.join("\n")}
  ${http}
}
`;
}

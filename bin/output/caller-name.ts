/** How tables name a caller: a service of our mesh by its name, everybody else by the whole SPIFFE id. */
export function callerName(id: string, trustDomain: string): string {
  if (id === "") return "(no certificate)";
  const own = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/svc\/([^/]+)$/.exec(id);
  return own?.[1] === trustDomain ? `${own[3]}.${own[2]}` : id;
}

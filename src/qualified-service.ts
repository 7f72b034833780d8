/** `api` in namespace `default` is `api.default`; a name that has its namespace stays. */
export function qualifiedService(service: string, namespace: string): string {
  return service.includes(".") ? service : `${service}.${namespace}`;
}

// A real OpenID Connect provider for the tests: node-oidc-provider with a few people, whose passwords nobody asks for. What a
// test wants is in the one argument, as JSON; a line with the address goes to stdout when it serves.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const people = new Map(Object.entries(options.people));

// The listener comes first, as the issuer has its port in it.
let provider;
const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  if (pathname === '/test/person') {
    // PUT replaces what is known of somebody, DELETE forgets them, as an administrator would.
    let body = '';
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      if (request.method === 'DELETE') people.delete(searchParams.get('sub'));
      else people.set(searchParams.get('sub'), JSON.parse(body));
      response.writeHead(204).end();
    });
    return;
  }
  provider.callback()(request, response);
});

server.listen(options.port ?? 0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  provider = new Provider(issuer, {
    clients: options.clients,
    jwks: { keys: [{ ...key, use: 'sig', alg: 'RS256', kid: 'of-the-tests' }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
    scopes: ['openid', 'offline_access', 'email', 'profile'],
    conformIdTokenClaims: options.claimsInUserinfo ?? true,
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    // Its own refuses loopback addresses, where all of the tests are, and gives up after 2.5 s, which a busy machine may take.
    fetch: (url, { dispatcher, signal, ...rest }) => fetch(url, rest),
    issueRefreshToken: async () => options.refreshTokens ?? true,
    rotateRefreshToken: true,
    ttl: { AccessToken: 600, AuthorizationCode: 60, IdToken: 600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
    async findAccount(_ctx, sub) {
      const person = people.get(sub);
      return person && { accountId: sub, claims: () => ({ sub, ...person }) };
    },
    // Nobody is asked whether AuthKit may know who they are.
    async loadExistingGrant(ctx) {
      const { client, session, params } = ctx.oidc;
      const known = session.grantIdFor(client.clientId);
      if (known) return provider.Grant.find(known);
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(params.scope);
      await grant.save();
      return grant;
    },
  });
  provider.on('server_error', (_ctx, error) => console.error('server_error', error));
  provider.on('backchannel.error', (_ctx, error) => console.error('backchannel.error', error));
  console.log(issuer);
});

// It ends with whoever started it.
process.stdin.on('end', () => process.exit(0)).resume();

DROP TABLE instances;
DROP TABLE api_tokens;
DROP TABLE tenants;
DROP TABLE users;
DROP TABLE workspaces;

"""Providers: who is asked. Nothing here reads settings: a provider is given its configuration when it is made."""

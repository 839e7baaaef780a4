//! Links, addresses, firewall rules and name files of containers.
